"""What problems with one unknown field have in common: data from a finer grid, and an honest account of their error.

A prediction on the inversion's grid misses the data for two reasons: noise, and the mesh. The second is not small, it
is not random, and a fit that does not know of it puts it into the field. Here it is measured without the truth, as the
difference between the two grids' predictions for *one and the same* model,

    e(m) = prediction on the inversion's grid - prediction on the finer grid.

At the starting model its root mean square adds to the noise (`mesh_error`): the fit then stops where the misfit is
explained by both. At a better model `m₁` most of it can be subtracted (`corrected`): what remains of the mesh error is
e(truth) - e(m₁), estimated by the secant from the start to `m₁`.
"""

import abc
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Float, PyTree, Scalar

import krylovpde as kp


class AbstractFieldModel(eqx.Module):
    """A model whose one unknown is a field."""

    grid: eqx.AbstractVar[kp.Grid]

    @property
    @abc.abstractmethod
    def field(self) -> Float[Array, "..."]:
        """The field, of `grid.shape`."""

    @abc.abstractmethod
    def equation(self) -> kp.AbstractEquation:
        """The equation with this field as its coefficient."""

    @abc.abstractmethod
    def on(self, grid: kp.Grid) -> "AbstractFieldModel":
        """The same field on another grid."""


class FieldProblem(eqx.Module):
    """An inverse problem for one field, with data.

    - `grid`: of the inversion.
    - `truth`: the true field on it.
    - `start`: the starting model.
    - `data`: what was measured, of shape `(runs, times, sensors)`.
    - `noise`: standard deviation of the measurement noise.
    - `mesh_error`: root mean square of the mesh error that is left after `correction`, an estimate.
    - `correction`: known mesh error, added to the data; zero at first.
    - `experiments`: predict the data on `grid`; `finer`: on `finer_grid`, where the data were made.
    - `sensors`, `sources`: positions.
    """

    grid: kp.Grid
    finer_grid: kp.Grid
    truth: Float[Array, "..."]
    start: AbstractFieldModel
    data: Float[Array, "runs times sensors"]
    noise: Scalar
    mesh_error: Scalar
    correction: Float[Array, "runs times sensors"]
    experiments: kp.inverse.Experiments
    finer: kp.inverse.Experiments
    sensors: Float[np.ndarray, "sensors 2"]
    sources: Float[np.ndarray, "sources 2"]

    @property
    def sigma(self) -> Scalar:
        """Standard deviation of noise and mesh error together."""
        return jnp.sqrt(self.noise**2 + self.mesh_error**2)

    def solve(self, model: AbstractFieldModel) -> kp.Solution:
        """The solutions on the inversion's grid, one per run, with their statistics."""
        return _solve(self.experiments, model)

    def forward(self, model: AbstractFieldModel) -> Float[Array, "runs times sensors"]:
        """The prediction on the inversion's grid."""
        return self.solve(model).value

    def loss(self) -> kp.inverse.LeastSquares:
        """`½ Σ ((forward(model) - data - correction) / sigma)²`."""
        return kp.inverse.LeastSquares(self.experiments, self.data + self.correction, self.sigma)

    def relative_error(self, model: AbstractFieldModel) -> Scalar:
        """`‖field - truth‖ / ‖truth‖`."""
        return _relative_error(model, self.truth, self.grid)

    def corrected(self, model: AbstractFieldModel) -> "FieldProblem":
        """The problem with the mesh error known at `model` subtracted.

        What remains is estimated by a secant: over the way from the start to `model` the mesh error changed by so much
        per change of the prediction, and the prediction still has the present residual to go.
        """
        coarse, error = _mesh_error(self, model)
        coarse_start, error_start = _mesh_error(self, self.start)
        change = _rms(error - error_start) / _rms(coarse - coarse_start)
        # Twice the secant: the way ahead is not the way done, and goes to finer detail (measured: 1.7 times).
        remaining = jnp.minimum(2 * change * _rms(coarse - self.data - error), _rms(error))
        return eqx.tree_at(lambda p: (p.correction, p.mesh_error), self, (error, remaining))


def make_field_problem(
    make_model: Callable[[kp.Grid, Float[Array, "..."]], AbstractFieldModel],
    truth: Callable[[kp.Grid], Float[Array, "..."]],
    start: AbstractFieldModel,
    experiments: Callable[[kp.Grid], kp.inverse.Experiments],
    grids: tuple[kp.Grid, kp.Grid],
    positions: tuple[np.ndarray, np.ndarray],
    noise_level: float,
    seed: int,
) -> FieldProblem:
    """Make the data, and estimate the mesh error at the starting model.

    **Arguments:**

    - `make_model`: the model of a grid and a field on it.
    - `truth`: the true field on a grid.
    - `start`: the starting model.
    - `experiments`: what is done and measured, on a grid.
    - `grids`: the inversion's, and the finer one that the data come from.
    - `positions`: of the sensors, and of the sources.
    - `noise_level`: standard deviation of the noise over the root mean square of the data.
    - `seed`: of the noise.
    """
    grid, finer_grid = grids
    coarse, finer = experiments(grid), experiments(finer_grid)
    clean = _solve(finer, make_model(finer_grid, truth(finer_grid))).value
    noise = noise_level * _rms(clean)
    rng = np.random.default_rng(seed)
    data = clean + noise * jnp.asarray(rng.standard_normal(clean.shape), clean.dtype)
    zero = jnp.zeros_like(noise)
    problem = FieldProblem(
        grid, finer_grid, truth(grid), start, data, noise, zero, jnp.zeros_like(data), coarse, finer, *positions
    )
    _, error = _mesh_error(problem, start)
    return eqx.tree_at(lambda p: p.mesh_error, problem, _rms(error))


def interpolate(field: Float[Array, "..."], grid: kp.Grid, target: kp.Grid) -> Float[Array, "..."]:
    """A field on another grid, multilinear between cell centres."""
    points = np.stack([np.ravel(x) for x in target.coordinates], axis=-1)
    return kp.Sensors(grid, points).mv(field).reshape(target.shape)


@eqx.filter_jit
def _solve(experiments: kp.inverse.Experiments, model: AbstractFieldModel) -> kp.Solution:
    return experiments.solve(model)


@eqx.filter_jit
def _relative_error(model: AbstractFieldModel, truth: Array, grid: kp.Grid) -> Scalar:
    return grid.norm(model.field - truth) / grid.norm(truth)


def _mesh_error(problem: FieldProblem, model: AbstractFieldModel) -> tuple[Array, Array]:
    """The prediction on the inversion's grid, and how far it is from the finer grid's for the same field."""
    coarse = problem.forward(model)
    return coarse, coarse - _solve(problem.finer, model.on(problem.finer_grid)).value


def _rms(values: Array) -> Scalar:
    return jnp.sqrt(jnp.mean(values**2))


def stack(states: list[PyTree]) -> PyTree:
    """One pytree with a leading axis from several alike."""
    return jtu.tree_map(lambda *leaves: jnp.stack(leaves), *states)


def logistic_edge(level: Array | np.ndarray, width: float) -> Array:
    """A step from 0 to 1 where `level` passes 0, as wide as `width`."""
    return jax.nn.sigmoid(2 * jnp.asarray(level) / width)
