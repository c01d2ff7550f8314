"""A coherent state of the harmonic oscillator, at rest and in a field that oscillates.

python examples/coherent_state.py [--size 128] [--figure FILE]

The packet keeps its shape while it swings (Schrödinger 1926), so every error shows. Then a field drives it, and the
gradient of where it ends with respect to the field's amplitude is compared with Ehrenfest's theorem,
`x'' = -x - a sin(ωt)`.
"""

import argparse

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import krylovpde as kp

jax.config.update("jax_enable_x64", True)

CENTRE, FREQUENCY, END = 1.5, 2.0, 2.5


class Driven(eqx.Module):
    """An oscillator in a field: a potential that is a function of time."""

    grid: kp.Grid
    amplitude: jax.Array

    def __call__(self, t):
        x = jnp.asarray(self.grid.coordinates[0])
        return 0.5 * x**2 + self.amplitude * jnp.sin(FREQUENCY * t) * x


def coherent(x, t):
    """The closed form, released at rest at `CENTRE`."""
    a, p = CENTRE * np.cos(t), -CENTRE * np.sin(t)
    return np.pi**-0.25 * np.exp(-0.5 * (x - a) ** 2 + 1j * (p * (x - a) + 0.5 * p * a - 0.5 * t))


def make_grid(size):
    """Wide enough that nothing reaches the walls."""
    return kp.Grid((size,), (-8.0,), (8.0,))


def swing(size):
    """The error of the state at the end, and the drift of its norm."""
    grid = make_grid(size)
    (x,) = grid.coordinates
    start = jnp.asarray(coherent(x, 0.0))
    solution = kp.solve(kp.Schrodinger(grid, 0.5 * x**2), start, END, rtol=1e-10)
    error = float(grid.norm(solution.value - coherent(x, END)))
    return error, float(grid.norm(solution.value) / grid.norm(start)) - 1.0, solution


def end_of_driven(amplitude, grid):
    """The mean position at the end."""
    (x,) = grid.coordinates
    equation = kp.Schrodinger(grid, Driven(grid, amplitude))
    state = kp.solve(equation, jnp.asarray(coherent(x, 0.0)), END, rtol=1e-7, max_steps=144).value
    return jnp.sum(grid.cell_volumes * x * jnp.abs(state) ** 2)


def main() -> None:
    """The two parts, as tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128, help="cells of the finest grid")
    parser.add_argument("--figure", help="where to save a picture of the packet")
    arguments = parser.parse_args()
    print("cells   error    norm drift   applications")
    for size in (arguments.size // 4, arguments.size // 2, arguments.size):
        error, drift, solution = swing(size)
        print(f"{size:5d}  {error:.2e}  {drift:10.1e}  {int(solution.stats.applications):6d} ({solution.stats.method})")

    grid = make_grid(arguments.size)
    position, slope = jax.jit(jax.value_and_grad(lambda a: end_of_driven(a, grid)))(jnp.asarray(0.8))
    w = FREQUENCY
    response = (np.sin(w * END) - w * np.sin(END)) / (w**2 - 1.0)
    print(f"driven: position {float(position):.5f}, by Ehrenfest {CENTRE * np.cos(END) + 0.8 * response:.5f}")
    print(f"driven: gradient {float(slope):.5f}, by Ehrenfest {response:.5f}")
    if arguments.figure:
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots()
        axes.plot(grid.coordinates[0], jnp.abs(solution.value) ** 2)
        axes.set(xlabel="x", ylabel="density at the end")
        figure.savefig(arguments.figure)


if __name__ == "__main__":
    main()
