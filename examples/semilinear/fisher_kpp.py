"""Fisher and Kolmogorov's equation: a front, and certified gradients of all that it depends on.

    u_t = D u_xx + r u (1 - u) + network(u)

python examples/semilinear/fisher_kpp.py [--size 64] [--figure FILE]
"""

import argparse

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import krylovpde as kp

jax.config.update("jax_enable_x64", True)

END, LENGTH = 4.0, 20.0


# --8<-- [start:model]
class Model(eqx.Module):
    """Every leaf is a parameter: two numbers and a network that corrects the reaction."""

    diffusivity: jax.Array
    rate: jax.Array
    network: eqx.nn.MLP

    def reaction(self, _t, _x, u):
        """`r u (1 - u)`, and what the network adds; nothing where nothing is."""
        return self.rate * u * (1.0 - u) + u * jax.vmap(self.network)(u[:, None])[:, 0]

    def equation(self, grid: kp.Grid) -> kp.ReactionDiffusion:
        """On a grid."""
        return kp.ReactionDiffusion(grid, self.diffusivity, self.reaction)


# --8<-- [end:model]


def model(key: jax.Array) -> Model:
    """With a network that is not yet trained."""
    network = eqx.nn.MLP(1, 1, 8, 1, activation=jnp.tanh, key=key)
    network = jax.tree.map(lambda leaf: 0.1 * leaf if eqx.is_inexact_array(leaf) else leaf, network)
    return Model(jnp.asarray(0.5), jnp.asarray(1.0), network)


def misfit(parameters: Model, grid: kp.Grid, method: kp.ETDRK4) -> jax.Array:
    """Of the state at the end, against a front that stands in the middle."""
    x = jnp.asarray(grid.coordinates[0])
    solution = kp.solve(parameters.equation(grid), jnp.exp(-((x / 2.0) ** 2)), END, method=method, max_steps=64)
    return 0.5 * grid.integrate((solution.value - jax.nn.sigmoid(0.5 * LENGTH - x)) ** 2)


def certificate(size: int):
    """Taylor's test in a rough direction of all parameters. Step sizes are constants to a derivative: fixed here."""
    grid = kp.Grid(size, 0.0, LENGTH)
    key, other = jax.random.split(jax.random.key(0))
    method = kp.ETDRK4(step_size=END / 32)
    return kp.verify.taylor_test(lambda p: misfit(p, grid, method), model(key), key=other)


def draw(axes, size: int = 64) -> None:
    """The front on its way, without the network."""
    grid = kp.Grid(size, 0.0, LENGTH)
    x, times = grid.coordinates[0], jnp.linspace(0.0, 8.0, 5)
    problem = kp.ReactionDiffusion(grid, 0.5, lambda _t, _x, u: u * (1.0 - u))
    solution = kp.solve(problem, jnp.asarray(np.exp(-((x / 2.0) ** 2))), times, rtol=1e-5, max_steps=256)
    axes.plot(x, solution.value.T)
    axes.set(title="Fisher–KPP", xlabel="x")


def main() -> None:
    """The report of the test."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--figure")
    arguments = parser.parse_args()
    print(certificate(arguments.size))
    if arguments.figure:
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots()
        draw(axes, arguments.size)
        figure.savefig(arguments.figure)


if __name__ == "__main__":
    main()
