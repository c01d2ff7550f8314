"""Gauss–Newton without matrices: dense references, limits, units, honest counters, and nothing not finite."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from jax.custom_derivatives import linear_call

from krylovpde.inverse import Box, GaussNewton, LeastSquares, Positive, fit
from krylovpde.inverse.fitting._bounds import Bounds
from krylovpde.inverse.fitting._normal_equations import (
    DampedProblem,
    Linearised,
    forcing_term,
    in_units,
    leaf_curvatures,
    linearise,
    solve_damped,
)


class Decay(eqx.Module):
    rate: Positive
    amplitude: Box

    def __call__(self):
        return self.amplitude.value * jnp.exp(-self.rate.value * jnp.linspace(0, 1, 20, dtype=self.rate.raw.dtype))


def _decay(rate, amplitude, lower=-jnp.inf, upper=jnp.inf, dtype=jnp.float64):
    return Decay(Positive.from_value(jnp.asarray(rate, dtype)), Box(jnp.asarray(amplitude, dtype), lower, upper))


def _decay_loss(dtype=jnp.float64):
    return LeastSquares(lambda model: model(), _decay(3.0, 2.0, dtype=dtype)(), 0.01)


class Linear(eqx.Module):
    """`matrix @ x - vector`, with x between limits."""

    matrix: jax.Array
    vector: jax.Array

    def __call__(self, model):
        return 0.5 * jnp.sum(self.residual(model) ** 2)

    def residual(self, model):
        return self.matrix @ model.value - self.vector


def _linear(condition, rows=60, columns=40):
    generator = np.random.default_rng(1)
    left, _ = np.linalg.qr(generator.normal(size=(rows, columns)))
    right, _ = np.linalg.qr(generator.normal(size=(columns, columns)))
    matrix = left * np.geomspace(1, 1 / condition, columns) @ right.T
    return Linear(jnp.asarray(matrix), jnp.asarray(generator.normal(size=rows)))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_a_few_numbers_in_few_iterations(dtype):
    result = fit(_decay_loss(dtype), _decay(1.0, 1.0, dtype=dtype), GaussNewton(), progress=None)
    assert not result.failed, result.reason
    assert "tolerances" in result.reason
    assert len(result.history) <= 9
    assert result.model.rate.raw.dtype == dtype
    np.testing.assert_allclose([result.model.rate.value, result.model.amplitude.value], [3.0, 2.0], rtol=1e-5)
    assert np.all(np.diff(result.history.value) <= 0)


@pytest.mark.parametrize(("lower", "upper"), [(-jnp.inf, 1.5), (2.5, 9.0)])
def test_a_limit_that_is_reached(lower, upper):
    start = _decay(1.0, np.clip(1.0, lower, upper), lower, upper)
    result = fit(_decay_loss(), start, GaussNewton(), progress=None)
    edge = lower if np.isfinite(lower) else upper

    def residual(x):
        return (edge * np.exp(-x[0] * np.linspace(0, 1, 20)) - np.asarray(_decay(3.0, 2.0)())) / 0.01

    reference = scipy.optimize.least_squares(residual, [3.0], xtol=1e-12)
    assert not result.failed, result.reason
    assert len(result.history) <= 12
    assert result.model.amplitude.value == edge
    assert result.model.rate.value == pytest.approx(reference.x[0], rel=1e-4)


@pytest.mark.parametrize("limit", [np.inf, 0.5])
def test_many_numbers_solve_a_linear_problem(limit):
    """40 unknowns: the solves are inexact. About half of the numbers end at limits."""
    loss = _linear(condition=30.0)
    result = fit(loss, Box(jnp.zeros(40), -limit, limit), GaussNewton(rtol=1e-14), max_iterations=60, progress=None)
    reference = scipy.optimize.lsq_linear(loss.matrix, loss.vector, (-limit, limit), tol=1e-12)
    assert not result.failed, result.reason
    assert result.history.value[-1] <= reference.cost * (1 + 1e-9)
    np.testing.assert_allclose(result.model.value, reference.x, atol=1e-4)
    held = int(np.sum(np.abs(np.asarray(result.model.value)) == limit))
    assert held == int(np.sum(np.abs(reference.active_mask)))
    assert len(result.history) <= 15


def test_units_of_leaves_do_not_matter():
    """A leaf in another unit changes no iterate: each is scaled by its own curvature."""

    class Scaled(eqx.Module):
        a: jax.Array
        b: jax.Array
        unit: float = eqx.field(static=True)

        def __call__(self):
            return jnp.exp(-self.a * jnp.linspace(0, 1, 20)) + jnp.sin(self.b / self.unit * jnp.linspace(0, 3, 20))

    data = Scaled(jnp.asarray(1.5), jnp.asarray(0.7), 1.0)()
    histories = []
    for unit in (1.0, 1e-6):
        start = Scaled(jnp.asarray(0.5), jnp.asarray(0.4 * unit), unit)
        result = fit(LeastSquares(lambda m: m(), data, 0.1), start, GaussNewton(), progress=None, max_iterations=5)
        histories.append(result.history.value)
    np.testing.assert_allclose(histories[1][:5], histories[0][:5], rtol=1e-5)


def _counted(matrix, calls):
    """`x -> matrix @ x` that counts its applications and those of its transpose."""

    def call(name, array, vector):
        def apply(x):
            calls.append(name)
            return np.asarray(array) @ x

        shape = jax.ShapeDtypeStruct((array.shape[0],), vector.dtype)
        return jax.pure_callback(apply, shape, vector, vmap_method="sequential")

    def mv(x):
        return linear_call(
            lambda _, v: call("forward", matrix, v), lambda _, w: call("transposed", matrix.T, w), None, x
        )

    return mv


def test_products_are_counted():
    problem, calls = _linear(condition=10.0), []
    mv = _counted(np.asarray(problem.matrix), calls)
    loss = LeastSquares(lambda x: jnp.tanh(mv(x)), problem.vector, 1.0)
    result = fit(loss, jnp.zeros(40), GaussNewton(), max_iterations=4, progress=None)
    jax.effects_barrier()
    last = result.history[-1]
    assert last.evaluations > 1 + 4 * 2  # trials were refused
    # Every evaluation is one product with the matrix, too.
    assert calls.count("forward") == last.evaluations + last.jacobian_products
    assert calls.count("transposed") == last.transposed_products
    assert last.jacobian_products > 8
    assert f"{last.jacobian_products}" in result.history.table().splitlines()[-1].split()


def test_a_preconditioner_saves_products_and_changes_nothing_else():
    loss = _linear(condition=1e3)
    inverse = jnp.linalg.inv(loss.matrix.T @ loss.matrix)

    def precondition(gradient):
        return eqx.tree_at(lambda box: box.raw, gradient, inverse @ gradient.raw)

    plain, preconditioned = (
        fit(loss, Box(jnp.zeros(40), -jnp.inf, jnp.inf), optimiser, max_iterations=40, progress=None)
        for optimiser in (GaussNewton(), GaussNewton(preconditioner=precondition))
    )
    assert preconditioned.history.value[-1] == pytest.approx(plain.history.value[-1], rel=1e-6)
    assert 4 * preconditioned.history[-1].jacobian_products < plain.history[-1].jacobian_products


@pytest.mark.parametrize("limited", [False, True])
def test_the_damped_step_is_that_of_the_dense_equations(limited):
    """One unknown is held at its lower limit by the gradient, or none is."""
    loss = _linear(condition=5.0, rows=9, columns=6)
    x = jnp.linspace(-1, 1, 6)
    scale = jnp.asarray(3.0)
    dense = np.asarray(loss.matrix) / 3
    gradient = dense.T @ np.asarray(loss.matrix @ x - loss.vector)
    lower, held = jnp.full(6, -9.0), None
    if limited:
        held = int(np.argmax(gradient))
        lower = lower.at[held].set(x[held])
    linearised = in_units(linearise(lambda x: loss.matrix @ x - loss.vector, x), x, scale)
    problem = DampedProblem(jnp.asarray(0.1), jnp.asarray(1e-12), jnp.asarray(50), None)
    found = solve_damped(linearised, x, Bounds(lower, jnp.full(6, 9.0)), problem)
    keep = np.arange(6) != held
    expected = np.zeros(6)
    free = dense[:, keep]
    expected[keep] = -np.linalg.solve(free.T @ free + 0.1 * np.eye(keep.sum()), gradient[keep])
    assert found.taken <= 8
    np.testing.assert_allclose(found.gradient, gradient, rtol=1e-12)
    np.testing.assert_allclose(found.step, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.model_residual[0], linearised.residual[0] + dense @ expected, rtol=1e-9)


@pytest.mark.parametrize("size", [1, 3])
def test_an_inexact_transpose_makes_no_long_steps(size, key):
    """Where the gradient is no larger than the error of the transpose, the step is no longer than that error makes it.

    Directions cancel there, and with steps of `squared / curvature` along them the lengths here reach 1e118.
    """
    matrix = jnp.asarray(np.linalg.qr(np.random.default_rng(0).standard_normal((20, size)))[0])

    def transposed(cotangent):
        exact = matrix.T @ cotangent[0]
        return exact + 1e-6 * jnp.sin(1e5 * jnp.sum(cotangent[0]) + 1e9 * exact) * jnp.linalg.norm(cotangent[0])

    def length(key):
        residual = jax.random.normal(key, (20,))
        residual = residual - matrix @ (matrix.T @ residual)
        linearised = Linearised([residual], lambda x: [matrix @ x], transposed)
        problem = DampedProblem(jnp.asarray(1e-9), jnp.asarray(1e-8), jnp.asarray(50), None)
        found = solve_damped(linearised, jnp.zeros(size), Bounds(), problem)
        return jnp.linalg.norm(found.step) / jnp.linalg.norm(residual)

    lengths = jax.jit(jax.vmap(length))(jax.random.split(key, 200))
    assert np.max(lengths) < 1e-4


def test_complex_residuals_and_curvatures():
    """Of `r = (1 + 2i) x y - i`, a complex residual with real unknowns, against derivatives by hand."""
    unknowns = {"x": jnp.asarray(3.0), "y": jnp.asarray([2.0, 0.0])}

    def residual(u):
        return (1 + 2j) * (u["x"] * u["y"]).astype(complex) - 1j

    linearised = linearise(residual, unknowns)
    gradient = linearised.transposed(linearised.residual)
    # ½ Σ |r|²: d/dx = 5 x Σ y² - 2 Σ y,  d/dy = 5 x² y - 2 x
    np.testing.assert_allclose(gradient["x"], 5 * 3 * 4 - 2 * 2)
    np.testing.assert_allclose(gradient["y"], 5 * 9 * np.array([2.0, 0.0]) - 2 * 3)
    curvatures = leaf_curvatures(linearised, {"x": jnp.asarray(-7.0), "y": jnp.zeros(2)})
    np.testing.assert_allclose([curvatures["x"], curvatures["y"]], [5 * 4, 5 * 9])


def test_forcing_term_follows_the_gradient():
    def forcing(norm, previous=0.1):
        return float(forcing_term(jnp.asarray(norm), jnp.asarray(1.0), jnp.asarray(previous), 0.1))

    assert forcing(2.0) == pytest.approx(0.1)
    assert forcing(0.1) == pytest.approx(0.9 * 0.1 ** ((1 + 5**0.5) / 2))
    assert forcing(1e-6) == pytest.approx(1e-4)


def test_a_trial_that_is_not_finite_is_refused_and_damped():
    """From far away, the full Gauss–Newton step of arctan overshoots to where there is no residual."""

    def predict(x):
        return jnp.where(jnp.abs(x) > 4.0, jnp.nan, jnp.arctan(x))

    result = fit(LeastSquares(predict, jnp.zeros(1), 1.0), jnp.asarray([3.0]), GaussNewton(damping=1e-6), progress=None)
    assert not result.failed, result.reason
    assert result.history[1].evaluations > 4  # refused at least once
    assert np.all(np.isfinite(result.history.value))
    assert result.model[0] == pytest.approx(0.0, abs=1e-5)


def test_a_loss_that_stays_non_finite_ends_the_fit_with_the_best_model():
    loss = LeastSquares(lambda x: jnp.where(x == 1.0, x, jnp.nan), jnp.zeros(1), 1.0)
    result = fit(loss, jnp.ones(1), GaussNewton(max_trials=4), progress=None)
    assert result.failed
    assert "no step lowers the loss" in result.reason
    assert result.model == 1.0
    assert result.history[-1].evaluations == 1 + 4 * 2


def test_the_first_iteration_is_the_only_one_that_is_traced():
    def count(iterations):
        traces = []

        def predict(model):
            traces.append(None)
            return model()

        loss = LeastSquares(predict, _decay(3.0, 2.0)(), 0.01)
        fit(loss, _decay(1.0, 1.0, 0.0, 1.5), GaussNewton(), max_iterations=iterations, progress=None)
        return len(traces)

    assert count(1) == count(4)


@pytest.mark.bad_input
def test_bad_arguments_are_refused():
    with pytest.raises(TypeError, match="GaussNewton is a least-squares solver and needs a loss with a residual"):
        fit(lambda x: x**2, jnp.asarray(1.0), GaussNewton())
    with pytest.raises(TypeError, match="GaussNewton takes real unknowns"):
        fit(LeastSquares(jnp.abs, jnp.ones(2), 1.0), jnp.ones(2, complex), GaussNewton())
    with pytest.raises(ValueError, match="forcing between 0 and 1"):
        GaussNewton(forcing=1.0)
