"""Allen and Cahn's equation: two phases part, and their free energy falls.

    u_t = ε² Δu + u - u³,    insulated

python examples/semilinear/allen_cahn.py [--size 96] [--figure FILE]
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np

import krylovpde as kp

jax.config.update("jax_enable_x64", True)

WIDTH, TIMES = 0.02, (1.0, 4.0, 16.0)


def equation(grid: kp.Grid, width: float | jax.Array = WIDTH) -> kp.Semilinear:
    """The Laplacian times a number: its tags and its interval are kept."""
    return kp.Semilinear(width**2 * kp.Laplacian(grid), lambda _t, u: u - u**3)


def start(grid: kp.Grid) -> jax.Array:
    """Rough: independent from cell to cell."""
    return jnp.asarray(0.1 * np.random.default_rng(0).standard_normal(grid.shape))


def energy(grid: kp.Grid, u: jax.Array) -> jax.Array:
    """`∫ ε²/2 |grad u|² + (1 - u²)²/4`."""
    gradient = -0.5 * WIDTH**2 * u * kp.Laplacian(grid).mv(u)
    return grid.integrate(gradient + 0.25 * (1.0 - u**2) ** 2)


def draw(axes, size: int = 96) -> None:
    """The last state."""
    grid = kp.Grid((size, size), (0.0, 0.0), (1.0, 1.0))
    solution = kp.solve(equation(grid), start(grid), jnp.array(TIMES), rtol=1e-4, max_steps=256)
    energies = jax.vmap(lambda u: energy(grid, u))(solution.value)
    print(f"Allen–Cahn: {solution.stats.num_steps} steps, energies " + ", ".join(f"{e:.4f}" for e in energies))
    axes.imshow(solution.value[-1].T, origin="lower", extent=(0, 1, 0, 1), cmap="coolwarm")
    axes.set(title="Allen–Cahn")


def main() -> None:
    """Steps, and energies that fall."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--figure")
    arguments = parser.parse_args()
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots()
    draw(axes, arguments.size)
    if arguments.figure:
        figure.savefig(arguments.figure)


if __name__ == "__main__":
    main()
