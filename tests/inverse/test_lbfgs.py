"""L-BFGS within limits: SciPy's minima at SciPy's price, limits that hold, and nothing not finite."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import optimistix as optx
import pytest
import scipy.optimize

from krylovpde.inverse import LBFGS, Box, GradientNorm, Stagnation, fit
from krylovpde.inverse.fitting._two_loop import newton_like
from tests.helpers import variants


def _rosenbrock(x):
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def _quadratic(size, condition):
    """½ xᵀAx - bᵀx of a given condition number, and its matrix."""
    generator = np.random.default_rng(0)
    basis, _ = np.linalg.qr(generator.normal(size=(size, size)))
    matrix = jnp.asarray(basis * np.geomspace(1, condition, size) @ basis.T)
    vector = jnp.asarray(3 * generator.normal(size=size))
    return lambda x: 0.5 * x @ matrix @ x - vector @ x


def _start(size):
    return jnp.where(jnp.arange(size) % 2 == 0, -1.2, 1.0)


def _fit(function, start, lower, upper, optimiser=None, **options):
    optimiser = LBFGS(rtol=1e-14) if optimiser is None else optimiser
    options = {"max_iterations": 300, "progress": None} | options
    return fit(lambda box: function(box.value), Box(start, lower, upper), optimiser, **options)


_CASES = {
    "no limits": (_rosenbrock, _start(10), -np.inf, np.inf),
    "minimum on a limit": (_rosenbrock, jnp.full(10, -1.2), -2.0, 0.8),
    "half the unknowns on limits": (_quadratic(30, 1e3), jnp.zeros(30), -0.05, np.linspace(0.01, 0.1, 30)),
    "everything on a limit": (_rosenbrock, jnp.full(10, -1.2), -2.0, -0.5),
}


# Half the unknowns on limits has some on each and some on none.
@pytest.mark.parametrize("name", variants(_CASES, quick=["no limits", "half the unknowns on limits"]))
def test_scipys_minimum_at_scipys_price(name):
    function, start, lower, upper = _CASES[name]
    result = _fit(function, start, lower, upper)
    assert not result.failed, result.reason
    evaluate = jax.jit(jax.value_and_grad(function))
    values = []

    def value_and_gradient(x):
        value, gradient = evaluate(x)
        values.append(float(value))
        return float(value), np.asarray(gradient)

    limits = scipy.optimize.Bounds(*(np.broadcast_to(limit, start.shape) for limit in (lower, upper)))
    reference = scipy.optimize.minimize(
        value_and_gradient, start, jac=True, method="L-BFGS-B", bounds=limits, options={"ftol": 1e-15, "gtol": 1e-10}
    )
    np.testing.assert_allclose(result.model.value, reference.x, atol=1e-6)
    assert np.all(result.model.value >= lower)
    assert np.all(result.model.value <= upper)
    # Both, to a millionth of what there was to gain.
    goal = reference.fun + 1e-6 * (values[0] - reference.fun)
    ours = next(record.evaluations for record in result.history.records if record.value <= goal)
    theirs = 1 + next(i for i, value in enumerate(values) if value <= goal)
    assert ours <= 1.3 * theirs + 3


@pytest.mark.standard_promotion
def test_no_more_evaluations_than_optax():
    ours = _fit(_rosenbrock, _start(10), -np.inf, np.inf, stop=GradientNorm(1e-8))
    theirs = fit(_rosenbrock, _start(10), optax.lbfgs(), stop=GradientNorm(1e-8), max_iterations=300, progress=None)
    assert isinstance(ours.stopped_by, GradientNorm)
    assert ours.history[-1].evaluations <= theirs.history[-1].evaluations


def test_the_loss_never_rises_and_counts_are_honest():
    calls = []

    def counted(x):
        return _rosenbrock(jax.pure_callback(lambda y: (calls.append(None), y)[1], x, x, vmap_method="sequential"))

    @jax.custom_vjp
    def function(x):
        return counted(x)

    # A callback has no derivative of its own.
    function.defvjp(lambda x: (counted(x), x), lambda x, g: (g * jax.grad(_rosenbrock)(x),))
    result = _fit(function, jnp.full(10, -1.2), -np.inf, 0.9, max_iterations=12)
    jax.effects_barrier()
    assert np.all(np.diff(result.history.value) < 0)
    assert len(calls) == result.history[-1].evaluations


def test_a_fit_that_starts_at_the_optimum_ends_there():
    result = _fit(lambda x: jnp.sum((x - 1.0) ** 2), jnp.ones(3), -2.0, 2.0)
    assert len(result.history) == 2
    assert not result.failed
    assert "tolerances" in result.reason
    assert result.history[-1].evaluations == 1


def test_unknowns_leave_a_limit_again():
    """The start sits on limits, on one of which the minimum lies and on another not."""
    result = _fit(
        lambda x: jnp.sum((x - jnp.asarray([2.0, -3.0, 0.5])) ** 2), jnp.asarray([-1.0, -1.0, 1.0]), -1.0, 1.0
    )
    np.testing.assert_allclose(result.model.value, [1.0, -1.0, 0.5], atol=1e-9)
    assert result.history[-1].gradient_norm < 1e-8  # what pushes against limits does not count


def test_a_start_outside_is_moved_to_the_edge_with_a_warning():
    with pytest.warns(UserWarning, match="2 numbers of the starting model are outside of their Box"):
        result = _fit(lambda x: jnp.sum(x**2), jnp.asarray([-3.0, 0.5, 4.0]), 0.2, 1.0, max_iterations=0)
    np.testing.assert_array_equal(result.model.value, [0.2, 0.5, 1.0])


def test_equal_limits_hold_a_number_fixed():
    result = _fit(_rosenbrock, jnp.full(3, 0.25), np.array([-9.0, 0.25, -9.0]), np.array([9.0, 0.25, 9.0]))
    assert result.model.value[1] == 0.25
    assert result.model.value[0] == pytest.approx(0.5, abs=0.01)  # x₀² ≈ x₁


@pytest.mark.parametrize("beyond", [jnp.nan, jnp.inf])
def test_a_trial_that_is_not_finite_shortens_the_search(beyond):
    result = _fit(
        lambda x: jnp.where(x > 3.1, beyond, 0.5 * (x - 3.0) ** 2), jnp.asarray(0.0), -1.0, 9.0, LBFGS(first_step=40.0)
    )
    assert not result.failed, result.reason
    assert result.model.value == pytest.approx(3.0, abs=1e-4)
    assert np.all(np.isfinite(result.history.value))


def test_a_loss_that_stays_non_finite_ends_the_fit_with_the_best_model():
    result = fit(lambda x: jnp.where(x == 1.0, x**2, jnp.nan), jnp.asarray(1.0), LBFGS(), progress=None)
    assert result.failed
    assert "no lower loss" in result.reason
    assert result.model == 1.0


def test_single_precision_stays_single_and_is_compiled_once():
    traces = []

    def function(x):
        traces.append(None)
        return _rosenbrock(x)

    for iterations in (1, 6):
        start = jnp.full(4, -1.2, jnp.float32)
        result = fit(
            lambda m: function(m.value), Box(start, -2.0, 0.9), LBFGS(), max_iterations=iterations, progress=None
        )
        assert result.model.value.dtype == jnp.float32
        traces.append("end")
    # No iteration but the first is traced.
    assert traces.index("end") == len(traces) - 2 - traces.index("end")


def test_two_loops_are_the_bfgs_inverse(key):
    """On the free unknowns: against the update of the dense inverse, with pairs restricted to them."""
    size, memory, kept = 6, 5, 3
    keys = jax.random.split(key, 3)
    matrix = jnp.eye(size) + 0.1 * jnp.ones((size, size))
    steps = jax.random.normal(keys[0], (memory, size))
    changes = steps @ matrix
    free = jnp.asarray([True, True, False, True, True, True])
    gradient = jnp.where(free, jax.random.normal(keys[1], (size,)), 0)
    found, usable = newton_like(gradient, steps, changes, jnp.asarray(kept), free)
    s, y = (np.where(free, a, 0)[memory - kept :] for a in (steps, changes))
    inverse = np.eye(size) * (s[-1] @ y[-1]) / (y[-1] @ y[-1])
    for step, change in zip(s, y, strict=True):
        projector = np.eye(size) - np.outer(step, change) / (step @ change)
        inverse = projector @ inverse @ projector.T + np.outer(step, step) / (step @ change)
    assert usable
    np.testing.assert_allclose(found, np.where(free, inverse @ np.asarray(gradient), 0), rtol=1e-10)


@pytest.mark.standard_promotion
def test_other_optimisers_and_limits():
    adam = _fit(lambda x: jnp.sum((x - 2.0) ** 2), jnp.zeros(3), -1.0, np.array([1.0, 3.0, 1.0]), optax.adam(0.1))
    np.testing.assert_allclose(adam.model.value, [1.0, 2.0, 1.0], atol=0.02)
    assert np.all(adam.model.value <= np.array([1.0, 3.0, 1.0]))
    cornered = _fit(lambda x: jnp.sum((x - 2.0) ** 2), jnp.zeros(3), -1.0, 1.0, optax.sgd(0.5))
    assert not cornered.failed
    np.testing.assert_array_equal(cornered.model.value, 1.0)
    assert len(cornered.history) <= 3
    with pytest.raises(ValueError, match=r"Use kp.inverse.LBFGS\(\) in place of optax.lbfgs\(\)"):
        _fit(_rosenbrock, jnp.zeros(3), -1.0, 1.0, optax.lbfgs())
    with pytest.raises(ValueError, match=r"optimistix.BFGS knows no limits"):
        _fit(_rosenbrock, jnp.zeros(3), -1.0, 1.0, optx.BFGS(1e-3, 1e-3))


@pytest.mark.bad_input
def test_bad_arguments_are_refused():
    with pytest.raises(TypeError, match="LBFGS takes real unknowns"):
        fit(lambda x: jnp.sum(jnp.abs(x) ** 2), jnp.ones(2, complex), LBFGS())
    with pytest.raises(ValueError, match="memory and max_evaluations must be at least 1"):
        LBFGS(memory=0)


def test_limits_of_a_leaf_that_is_not_free_do_not_matter():
    class Two(eqx.Module):
        a: Box
        b: Box

    model = Two(Box(0.0, -1.0, 1.0), Box(0.5, -1.0, 1.0))
    free = eqx.tree_at(lambda m: m.b.raw, jax.tree.map(lambda _: True, model), False)
    result = fit(
        lambda m: (m.a.value - 2.0) ** 2 + (m.b.value - 2.0) ** 2,
        model,
        LBFGS(),
        trainable=free,
        stop=Stagnation(),
        progress=None,
    )
    assert (result.model.a.value, result.model.b.value) == (1.0, 0.5)
