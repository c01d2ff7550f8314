"""The wave speed in a block: pulses at its sides, sensors around it.

    u_tt = speed² lap u        on the unit square, reflecting sides,        u(0) a short pulse, u_t(0) = 0

A block of one metre with two fast and two slow inclusions in a background that varies smoothly, between 1.6 and 2.3
metres per millisecond. Each of a few pulses starts near the side; sensors on all four sides record the field at a few
times, while the wave crosses the block and some of it comes back. The starting model knows the mean speed alone.

Lengths in metres, times in milliseconds, speeds in metres per millisecond.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import krylovpde as kp

from ._field_problem import AbstractFieldModel, FieldProblem, interpolate, logistic_edge, make_field_problem, stack

MEAN_SPEED = 2.0
SPEED_LIMITS = (1.2, 2.8)
_INSET = 0.06  # how far inside the block sensors and pulses are

# centre x, centre y, half axes, angle (radians), difference of speed
_INCLUSIONS = (
    (0.34, 0.66, 0.15, 0.09, 0.6, 0.35),
    (0.67, 0.62, 0.10, 0.10, 0.0, -0.35),
    (0.62, 0.30, 0.17, 0.055, -0.45, 0.30),
    (0.30, 0.30, 0.075, 0.075, 0.0, -0.30),
)
_EDGE = 0.024  # over which an inclusion's speed goes over into the background's


class SpeedModel(AbstractFieldModel):
    """The wave equation with an unknown speed: an array, or any `kp.inverse` parametrisation."""

    speed: kp.inverse.AbstractParameter | Float[Array, "x y"]
    grid: kp.Grid

    @property
    def field(self) -> Float[Array, "x y"]:
        """The speed, in m/ms."""
        return kp.inverse.value_of(self.speed)

    def equation(self) -> kp.Wave:
        """`u_tt = speed² lap u`, with sides that reflect."""
        return kp.Wave(self.grid, self.field)

    def on(self, grid: kp.Grid) -> "SpeedModel":
        """The same speed on another grid."""
        return SpeedModel(speed=interpolate(self.field, self.grid, grid), grid=grid)


def wave_speed_problem(
    num_cells: int = 128,
    *,
    data_cells: int | None = None,
    num_shots: int = 6,
    sensors_per_side: int = 48,
    num_times: int = 8,
    duration: float = 0.6,
    pulse_width: float | None = None,
    smoothing: float = 0.02,
    noise_level: float = 0.02,
    seed: int = 0,
    **options: Any,
) -> FieldProblem:
    """Make the problem.

    **Arguments:**

    - `num_cells`: along each side of the inversion's grid.
    - `data_cells`: of the grid that the data are made on; twice as many if left out.
    - `num_shots`: pulses, at equal distances around the block.
    - `sensors_per_side`: four times as many sensors in all.
    - `num_times`: of measurement, equally spaced up to `duration` (ms).
    - `pulse_width`: standard deviation of the Gaussian pulses (m); 6.4 cells if left out. Shorter pulses see more and
        need more cells: the error of the mesh goes with the square of cells per wavelength.
    - `smoothing`: length of the starting model's `kp.inverse.Smoothed` (m).
    - `noise_level`: standard deviation of the noise over the root mean square of the data.
    - `seed`: of the noise.
    - `options`: of `kp.solve`, for example `rtol`.
    """
    width = 6.4 / num_cells if pulse_width is None else pulse_width
    sensors, sources = _perimeter(4 * sensors_per_side), _perimeter(num_shots)
    times = jnp.linspace(duration / num_times, duration, num_times)

    def make_grid(cells: int) -> kp.Grid:
        return kp.Grid(shape=(cells, cells), lower=(0.0, 0.0), upper=(1.0, 1.0))

    def experiments(grid: kp.Grid) -> kp.inverse.Experiments:
        initial = stack([_pulse(grid, source, width) for source in sources])
        return kp.inverse.Experiments(kp.inverse.Experiment(initial, times, kp.Sensors(grid, sensors), options=options))

    grid, finer_grid = make_grid(num_cells), make_grid(data_cells or 2 * num_cells)
    bounded = kp.inverse.Bounded.from_value(jnp.full(grid.shape, MEAN_SPEED), *SPEED_LIMITS)
    start = SpeedModel(speed=kp.inverse.Smoothed(bounded, grid, smoothing), grid=grid)
    return make_field_problem(
        lambda grid, speed: SpeedModel(speed=speed, grid=grid),
        true_speed,
        start,
        experiments,
        (grid, finer_grid),
        (sensors, sources),
        noise_level,
        seed,
    )


def true_speed(grid: kp.Grid) -> Float[Array, "x y"]:
    """The speed to be found, in m/ms."""
    x, y = grid.coordinates
    speed = MEAN_SPEED + 0.15 * np.sin(1.2 * np.pi * x + 0.4) * np.cos(np.pi * y)
    total = jnp.asarray(speed, jnp.result_type(float))
    for centre_x, centre_y, long, short, angle, difference in _INCLUSIONS:
        along = (x - centre_x) * np.cos(angle) + (y - centre_y) * np.sin(angle)
        across = (y - centre_y) * np.cos(angle) - (x - centre_x) * np.sin(angle)
        inside = (1 - np.hypot(along / long, across / short)) * min(long, short)
        total = total + difference * logistic_edge(jnp.asarray(inside, total.dtype), _EDGE)
    return total


def _pulse(grid: kp.Grid, position: np.ndarray, width: float) -> kp.WaveState:
    """A Gaussian displacement at rest."""
    x, y = grid.coordinates
    bump = np.exp(-((x - position[0]) ** 2 + (y - position[1]) ** 2) / (2 * width**2))
    displacement = jnp.asarray(bump, jnp.result_type(float))
    return kp.WaveState(displacement, jnp.zeros_like(displacement))


def _perimeter(number: int) -> np.ndarray:
    """Points at equal distances around the block, a little inside of it, from one corner on."""
    side, along = np.divmod(4 * np.arange(number) / number, 1)
    low, high = _INSET, 1 - _INSET
    run = low + (high - low) * along
    corners = [(run, low), (high, run), (high + low - run, high), (low, high + low - run)]
    x = np.select([side == k for k in range(4)], [np.broadcast_to(c[0], run.shape) for c in corners])
    y = np.select([side == k for k in range(4)], [np.broadcast_to(c[1], run.shape) for c in corners])
    return np.stack([x, y], axis=-1)
