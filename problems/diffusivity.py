"""The diffusivity of a plate: heated spots, thermometers on a square array.

    u_t = div(diffusivity grad u)        on the unit square, insulated sides,        u(0) one warm spot

A plate of one decimetre whose diffusivity varies by a factor of about five: a smooth background, a poorly and a well
conducting patch. Spots are heated one after another, and the temperature is measured at a few times while the heat
spreads. The starting model is uniform.

Lengths in decimetres, times in seconds, diffusivities in dm²/s.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import krylovpde as kp

from ._field_problem import AbstractFieldModel, FieldProblem, interpolate, logistic_edge, make_field_problem, stack

MEAN_DIFFUSIVITY = 0.01


class DiffusivityModel(AbstractFieldModel):
    """The heat equation with an unknown diffusivity: an array, or any `kp.inverse` parametrisation."""

    diffusivity: kp.inverse.AbstractParameter | Float[Array, "x y"]
    grid: kp.Grid

    @property
    def field(self) -> Float[Array, "x y"]:
        """The diffusivity, in dm²/s."""
        return kp.inverse.value_of(self.diffusivity)

    def equation(self) -> kp.Diffusion:
        """`u_t = div(diffusivity grad u)`, with insulated sides."""
        return kp.Diffusion(self.grid, self.field)

    def on(self, grid: kp.Grid) -> "DiffusivityModel":
        """The same diffusivity on another grid."""
        return DiffusivityModel(diffusivity=interpolate(self.field, self.grid, grid), grid=grid)


def diffusivity_problem(
    num_cells: int = 64,
    *,
    data_cells: int | None = None,
    spots_per_side: int = 3,
    sensors_per_side: int = 14,
    num_times: int = 6,
    duration: float = 2.0,
    spot_width: float = 0.06,
    smoothing: float = 0.03,
    noise_level: float = 0.01,
    seed: int = 0,
    **options: Any,
) -> FieldProblem:
    """Make the problem.

    **Arguments:**

    - `num_cells`: along each side of the inversion's grid.
    - `data_cells`: of the grid that the data are made on; twice as many if left out.
    - `spots_per_side`, `sensors_per_side`: both stand on square arrays.
    - `num_times`: of measurement, equally spaced up to `duration` (s).
    - `spot_width`: standard deviation of the warm spots (dm).
    - `smoothing`: length of the starting model's `kp.inverse.Smoothed` (dm).
    - `noise_level`: standard deviation of the noise over the root mean square of the data.
    - `seed`: of the noise.
    - `options`: of `kp.solve`, for example `rtol`.
    """
    sensors, sources = _array(sensors_per_side), _array(spots_per_side)
    times = jnp.linspace(duration / num_times, duration, num_times)

    def make_grid(cells: int) -> kp.Grid:
        return kp.Grid(shape=(cells, cells), lower=(0.0, 0.0), upper=(1.0, 1.0))

    def experiments(grid: kp.Grid) -> kp.inverse.Experiments:
        initial = stack([_spot(grid, source, spot_width) for source in sources])
        return kp.inverse.Experiments(kp.inverse.Experiment(initial, times, kp.Sensors(grid, sensors), options=options))

    grid, finer_grid = make_grid(num_cells), make_grid(data_cells or 2 * num_cells)
    positive = kp.inverse.Positive.from_value(jnp.full(grid.shape, MEAN_DIFFUSIVITY))
    start = DiffusivityModel(diffusivity=kp.inverse.Smoothed(positive, grid, smoothing), grid=grid)
    return make_field_problem(
        lambda grid, values: DiffusivityModel(diffusivity=values, grid=grid),
        true_diffusivity,
        start,
        experiments,
        (grid, finer_grid),
        (sensors, sources),
        noise_level,
        seed,
    )


def true_diffusivity(grid: kp.Grid) -> Float[Array, "x y"]:
    """The diffusivity to be found, in dm²/s."""
    x, y = (jnp.asarray(coordinate, jnp.result_type(float)) for coordinate in grid.coordinates)
    logarithm = 0.3 * jnp.sin(np.pi * x) * jnp.cos(1.5 * np.pi * y)
    poor = 0.17 - jnp.hypot(x - 0.68, y - 0.66)
    good = 0.12 - jnp.maximum(jnp.abs(x - 0.3), jnp.abs(y - 0.36))
    logarithm = logarithm - 0.9 * logistic_edge(poor, 0.06) + 0.7 * logistic_edge(good, 0.06)
    return MEAN_DIFFUSIVITY * jnp.exp(logarithm)


def _spot(grid: kp.Grid, position: np.ndarray, width: float) -> Float[Array, "x y"]:
    x, y = grid.coordinates
    bump = np.exp(-((x - position[0]) ** 2 + (y - position[1]) ** 2) / (2 * width**2))
    return jnp.asarray(bump, jnp.result_type(float))


def _array(per_side: int) -> np.ndarray:
    """A square array of points."""
    line = (np.arange(per_side) + 0.5) / per_side
    return np.stack([np.ravel(x) for x in np.meshgrid(line, line, indexing="ij")], axis=-1)
