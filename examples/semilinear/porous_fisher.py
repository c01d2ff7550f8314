"""Porous-Fisher: cells that crowd each other invade at a sharp front.

    u_t = div(D u/K grad u) + r u (1 - u/K)

python examples/semilinear/porous_fisher.py [--size 100] [--figure FILE]
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np

import krylovpde as kp

jax.config.update("jax_enable_x64", True)

DIFFUSIVITY, RATE, CAPACITY, LENGTH = 1.0, 1.0, 1.0, 30.0
TIMES = (0.0, 8.0, 16.0, 24.0)


# --8<-- [start:equation]
def equation(grid: kp.Grid, diffusivity=DIFFUSIVITY, rate=RATE, capacity=CAPACITY) -> kp.NonlinearDiffusion:
    """Three parameters, each of which may be a tracer or a leaf."""
    return kp.NonlinearDiffusion(
        grid, lambda u: diffusivity * u / capacity, reaction=lambda _t, _x, u: rate * u * (1.0 - u / capacity)
    )


# --8<-- [end:equation]


def front(grid: kp.Grid, u: jax.Array) -> float:
    """Where the density falls through a half."""
    return float(np.interp(-0.5 * CAPACITY, -np.asarray(u), grid.coordinates[0]))


def draw(axes, size: int = 100) -> None:
    """Profiles, and the speed of the front."""
    grid = kp.Grid(size, 0.0, LENGTH)
    start = jnp.asarray(np.where(grid.coordinates[0] < 4.0, CAPACITY, 0.0))
    solution = kp.solve(equation(grid), start, jnp.array(TIMES), rtol=1e-4, max_steps=400)
    places = [front(grid, u) for u in solution.value]
    speed = (places[-1] - places[-2]) / (TIMES[-1] - TIMES[-2])
    # Aronson (1980): the slowest wave, with a sharp front, has the speed sqrt(D r / 2).
    exact = np.sqrt(DIFFUSIVITY * RATE / 2)
    print(f"Porous-Fisher: {solution.stats.method}, {solution.stats.num_steps} steps, speed {speed:.4f} of {exact:.4f}")
    axes.plot(grid.coordinates[0], solution.value.T)
    axes.set(title="Porous-Fisher", xlabel="x")


def main() -> None:
    """The speed of the front beside the exact one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=100)
    parser.add_argument("--figure")
    arguments = parser.parse_args()
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots()
    draw(axes, arguments.size)
    if arguments.figure:
        figure.savefig(arguments.figure)


if __name__ == "__main__":
    main()
