"""Kuramoto and Sivashinsky's equation: chaos from a linear part of fourth order.

    u_t = -u_xx - u_xxxx - ½ (u²)_x,    periodic

python examples/semilinear/kuramoto_sivashinsky.py [--size 128] [--end 100] [--figure FILE]
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np

import krylovpde as kp

jax.config.update("jax_enable_x64", True)


# --8<-- [start:equation]
def equation(size: int, length: float = 32 * np.pi) -> tuple[kp.Grid, kp.Semilinear]:
    """On `size` cells. The polynomial of the Laplacian is self-adjoint, and ends at its largest growth rate, 1/4."""
    grid = kp.Grid(size, 0.0, length)
    laplacian = kp.Laplacian(grid, kp.Periodic())
    linear = kp.PolynomialOperator(laplacian, (0.0, -1.0, -1.0))
    spacing = length / size

    def advection(_t, u):
        return -(jnp.roll(u, -1) ** 2 - jnp.roll(u, 1) ** 2) / (4.0 * spacing)

    return grid, kp.Semilinear(linear, advection)


# --8<-- [end:equation]


def start(grid: kp.Grid) -> jax.Array:
    """Smooth; Kassam and Trefethen's (2005)."""
    x = jnp.asarray(grid.coordinates[0] / 16)
    return jnp.cos(x) * (1.0 + jnp.sin(x))


def solve(size: int = 128, end: float = 100.0, frames: int = 101) -> tuple[jax.Array, kp.Solution]:
    """Times and states."""
    grid, problem = equation(size)
    times = jnp.linspace(0.0, end, frames)
    return times, kp.solve(problem, start(grid), times, rtol=1e-5, max_steps=256)


def draw(axes, size: int = 128, end: float = 100.0) -> None:
    """Space over time."""
    times, solution = solve(size, end)
    axes.pcolormesh(np.arange(size), times, solution.value, cmap="RdBu", rasterized=True)
    axes.set(title="Kuramoto–Sivashinsky", xlabel="cell", ylabel="time")


def main() -> None:
    """Steps and cost; the mean stays what it was."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--end", type=float, default=100.0)
    parser.add_argument("--figure")
    arguments = parser.parse_args()
    _, solution = solve(arguments.size, arguments.end)
    stats = solution.stats
    drift = float(jnp.abs(jnp.mean(solution.value[-1]) - jnp.mean(solution.value[0])))
    print(f"{stats.method}: {stats.num_steps} steps, {stats.applications} applications; the mean drifts by {drift:.1e}")
    if arguments.figure:
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots()
        draw(axes, arguments.size, arguments.end)
        figure.savefig(arguments.figure)


if __name__ == "__main__":
    main()
