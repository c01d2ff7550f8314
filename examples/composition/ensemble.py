"""An ensemble of models, solved and differentiated at once by `eqx.filter_vmap`.

python examples/composition/ensemble.py [--size 32] [--members 6]
"""

import argparse

import equinox as eqx
import jax
import jax.numpy as jnp

import krylovpde as kp

jax.config.update("jax_enable_x64", True)


# --8<-- [start:model]
class Tank(eqx.Module):
    """A tank with an uncertain speed of sound and uncertain walls."""

    speed: jax.Array
    wall: jax.Array

    def pressure(self, sensors: kp.Sensors, pulse: jax.Array, times: jax.Array) -> jax.Array:
        """What the sensors record, one row for each time."""
        walls = kp.Robin(alpha=jnp.exp(self.wall), beta=1.0, value=0.0)
        equation = kp.Wave(sensors.grid, self.speed, boundary=walls)
        initial = kp.WaveState(pulse, jnp.zeros_like(pulse))
        return kp.solve(equation, initial, times, observe=sensors).value


def draw_member(key: jax.Array) -> Tank:
    """A random tank; under `filter_vmap` over keys, a module whose leaves have a leading axis."""
    first, second = jax.random.split(key)
    return Tank(1.0 + 0.05 * jax.random.normal(first), 0.2 * jax.random.normal(second))


# --8<-- [end:model]


def main() -> None:
    """Mean and deviation of the records, and every member's gradient."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=32, help="cells along each axis")
    parser.add_argument("--members", type=int, default=6)
    arguments = parser.parse_args()
    grid = kp.Grid(shape=(arguments.size, arguments.size), lower=(0.0, 0.0), upper=(1.0, 1.0))
    x, y = grid.coordinates
    sensors = kp.Sensors(grid, [[0.7, 0.5], [0.8, 0.8]])
    pulse, times = jnp.exp(-((x - 0.3) ** 2 + (y - 0.5) ** 2) / 0.02), jnp.linspace(0.1, 0.6, 6)

    # --8<-- [start:ensemble]
    def energy(tank):
        record = tank.pressure(sensors, pulse, times)
        return jnp.mean(record**2), record

    ensemble = eqx.filter_vmap(draw_member)(jax.random.split(jax.random.key(0), arguments.members))
    together = eqx.filter_jit(eqx.filter_vmap(eqx.filter_value_and_grad(energy, has_aux=True)))
    (energies, records), gradients = together(ensemble)
    # --8<-- [end:ensemble]

    print("time   " + "".join(f"  sensor {sensor}: mean, deviation" for sensor in range(records.shape[2])))
    for time, mean, deviation in zip(times, jnp.mean(records, axis=0), jnp.std(records, axis=0), strict=True):
        print(f"{time:.2f}   " + "".join(f"  {m:+13.4f}  {s:12.4f}" for m, s in zip(mean, deviation, strict=True)))
    print("\nmember   speed  energy recorded  d/dspeed      the same alone")
    for member in range(arguments.members):
        tank, slopes = (jax.tree.map(lambda leaf: leaf[member], tree) for tree in (ensemble, gradients))  # noqa: B023
        alone = eqx.filter_jit(eqx.filter_grad(energy, has_aux=True))(tank)[0]
        print(f"{member:6d}  {tank.speed:.4f}  {energies[member]:15.6f}  {slopes.speed:+.5e}  {alone.speed:+.5e}")


if __name__ == "__main__":
    main()
