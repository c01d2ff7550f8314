"""A neural network as the coefficient of an equation, trained through `kp.solve` with optax.

python examples/composition/network_coefficient.py [--size 48] [--steps 60]
"""

import argparse

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

import krylovpde as kp

jax.config.update("jax_enable_x64", True)


# --8<-- [start:model]
class Medium(eqx.Module):
    """The unknown: a network from the position to the logarithm of the diffusivity."""

    network: eqx.nn.MLP

    def predict(self, sensors: kp.Sensors, initial: jax.Array, times: jax.Array) -> jax.Array:
        """What the sensors see, one row for each time."""
        points = jnp.stack(sensors.grid.coordinates, axis=-1)
        diffusivity = jnp.exp(jax.vmap(self.network)(points))
        equation = kp.Diffusion(sensors.grid, diffusivity)
        return kp.solve(equation, initial, times, observe=sensors).value


# --8<-- [end:model]


def main() -> None:
    """Made-up data of a medium with a jump, and Adam."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=48, help="cells")
    parser.add_argument("--steps", type=int, default=60, help="steps of the optimiser")
    arguments = parser.parse_args()
    grid = kp.Grid(shape=(arguments.size,), lower=(0.0,), upper=(1.0,))
    (x,) = grid.coordinates
    sensors = kp.Sensors(grid, [[0.2], [0.35], [0.5], [0.65], [0.8]])
    initial, times = jnp.exp(-(((x - 0.4) / 0.15) ** 2)), jnp.linspace(0.005, 0.05, 10)
    truth = kp.Diffusion(grid, jnp.where(x < 0.5, 1.5, 0.5))
    data = kp.solve(truth, initial, times, observe=sensors).value

    # --8<-- [start:training]
    @eqx.filter_jit
    def step(model, state):
        """One step of Adam."""

        def loss(model):
            return jnp.mean((model.predict(sensors, initial, times) - data) ** 2)

        value, gradient = eqx.filter_value_and_grad(loss)(model)
        updates, state = optimiser.update(gradient, state)
        return eqx.apply_updates(model, updates), state, value

    model = Medium(eqx.nn.MLP(1, "scalar", 16, 2, activation=jnp.tanh, key=jax.random.key(0)))
    optimiser = optax.adam(2e-2)
    state = optimiser.init(eqx.filter(model, eqx.is_array))
    losses = []
    for _ in range(arguments.steps):
        model, state, value = step(model, state)
        losses.append(float(value))
    # --8<-- [end:training]
    shown = sorted({*range(0, arguments.steps, max(arguments.steps // 8, 1)), arguments.steps - 1})
    print("\n".join(f"step {number:4d}  loss {losses[number]:.3e}" for number in shown))


if __name__ == "__main__":
    main()
