"""Burgers' equation in conservative form, beside Cole and Hopf's solution.

    u_t + (u²/2)_x = ν u_xx,    periodic

python examples/semilinear/burgers.py [--size 256] [--figure FILE]
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np

import krylovpde as kp

jax.config.update("jax_enable_x64", True)

VISCOSITY, END = 0.02, 0.6


def equation(grid: kp.Grid, viscosity: float | jax.Array = VISCOSITY) -> kp.ReactionDiffusion:
    """The flux through a face is the mean of both sides: momentum is kept to rounding."""
    spacing = float(grid.widths(0)[0])

    def inflow(_t, _x, u):
        flux = 0.25 * (u**2 + jnp.roll(u, -1) ** 2)
        return (jnp.roll(flux, 1) - flux) / spacing

    return kp.ReactionDiffusion(grid, viscosity, inflow, boundary=kp.Periodic())


def start(grid: kp.Grid) -> jax.Array:
    """A wave that steepens."""
    return jnp.asarray(np.sin(2 * np.pi * grid.coordinates[0]))


def cole_hopf(x: np.ndarray, t: float) -> np.ndarray:
    """By quadrature of the heat kernel, `u = ∫ (x - y)/t w dy / ∫ w dy` (Hopf 1950)."""
    y = np.linspace(-2.0, 3.0, 20001)
    potential = (1.0 - np.cos(2 * np.pi * y)) / (2 * np.pi)
    exponent = -(potential + (x[:, None] - y) ** 2 / (2 * t)) / (2 * VISCOSITY)
    weight = np.exp(exponent - exponent.max(axis=1, keepdims=True))
    return np.sum((x[:, None] - y) / t * weight, axis=1) / np.sum(weight, axis=1)


def draw(axes, size: int = 256) -> None:
    """Start, end, exact."""
    grid = kp.Grid(size, 0.0, 1.0)
    solution = kp.solve(equation(grid), start(grid), END, rtol=1e-5, max_steps=256)
    x, exact = grid.coordinates[0], cole_hopf(grid.coordinates[0], END)
    print(f"Burgers: {solution.stats.num_steps} steps, error {np.max(np.abs(solution.value - exact)):.1e}")
    axes.plot(x, start(grid), ":", x, solution.value, "-", x[::16], exact[::16], "k.")
    axes.set(title="Burgers, and Cole–Hopf", xlabel="x")


def main() -> None:
    """The largest error against the exact solution."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--figure")
    arguments = parser.parse_args()
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots()
    draw(axes, arguments.size)
    if arguments.figure:
        figure.savefig(arguments.figure)


if __name__ == "__main__":
    main()
