"""A Diffrax user's model: what changes, in one line, and that value and gradient stay what they were.

python examples/composition/diffrax_model.py [--size 64]
"""

import argparse
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp

import krylovpde as kp

jax.config.update("jax_enable_x64", True)


# --8<-- [start:model]
class Layers(eqx.Module):
    """The unknowns, as logarithms: the diffusivity left and right of the middle, and a rate of decay."""

    diffusivity: jax.Array
    rate: jax.Array

    def equation(self, grid: kp.Grid) -> kp.Diffusion:
        """The equation; its `vector_field` serves any ODE solver."""
        (x,) = grid.coordinates
        left, right = jnp.exp(self.diffusivity)
        return kp.Diffusion(grid, jnp.where(x < 0.5, left, right), reaction_rate=-jnp.exp(self.rate))


def by_diffrax(equation: kp.Diffusion, initial: jax.Array, times: jax.Array) -> Any:
    """The model as it was."""
    return diffrax.diffeqsolve(
        diffrax.ODETerm(equation.vector_field),
        diffrax.Tsit5(),
        t0=0.0,
        t1=times[-1],
        dt0=None,
        y0=initial,
        saveat=diffrax.SaveAt(ts=times),
        stepsize_controller=diffrax.PIDController(rtol=1e-8, atol=1e-10),
    ).ys


def by_krylovpde(equation: kp.Diffusion, initial: jax.Array, times: jax.Array) -> Any:
    """The line that changes."""
    return kp.solve(equation, initial, times, rtol=1e-8).value


# --8<-- [end:model]


def main() -> None:
    """The same loss of the same module by both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=64, help="cells")
    grid = kp.Grid(shape=(parser.parse_args().size,), lower=(0.0,), upper=(1.0,))
    initial, times = jnp.exp(-(((grid.coordinates[0] - 0.3) / 0.1) ** 2)), jnp.linspace(0.01, 0.05, 5)
    truth, guess = Layers(jnp.log(jnp.asarray([1.0, 0.3])), jnp.log(2.0)), Layers(jnp.zeros(2), jnp.zeros(()))
    data = by_krylovpde(truth.equation(grid), initial, times)

    @eqx.filter_jit
    @eqx.filter_value_and_grad
    def loss(model, solve):
        return jnp.mean((solve(model.equation(grid), initial, times) - data) ** 2)

    found = []
    for solve in (by_diffrax, by_krylovpde):
        value, gradient = loss(guess, solve)
        found.append(jnp.asarray([value, *gradient.diffusivity, gradient.rate]))
        print(f"{solve.__name__:13s} loss {value:.8e}  gradient", *(f"{number:+.8e}" for number in found[-1][1:]))
    largest = jnp.max(jnp.abs(found[0]))
    print(f"largest difference, relative to the largest: {jnp.max(jnp.abs(found[0] - found[1])) / largest:.1e}")


if __name__ == "__main__":
    main()
