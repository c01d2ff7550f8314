"""Hypergradients against derivatives of closed-form minima, dense formulas and differences between refits."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

import krylovpde as kp
from krylovpde.inverse import (
    BiLaplacian,
    CameronMartin,
    ConjugateGradient,
    ExactHessian,
    Gaussian,
    GaussNewtonHessian,
    LeastSquares,
    Neumann,
    Nystrom,
    TotalVariation,
    hypergradient,
    low_rank_inverse,
)
from krylovpde.inverse.loss import half_sum_of_squares
from tests.helpers import relative_error

_CG = ConjugateGradient(60, 1e-13)
_DESIGN = jr.normal(jr.key(0), (12, 6))
_DATA = jr.normal(jr.key(1), (12,))
_WEIGHTS = jnp.exp(jr.normal(jr.key(2), (6,)))


class Ridge(eqx.Module):
    """`½ |A θ - y|² + ½ Σ w θ²`."""

    weights: Array
    design: Array
    data: Array

    def residual(self, model):
        return self.design @ model - self.data, jnp.sqrt(self.weights) * model

    def __call__(self, model):
        return half_sum_of_squares(self.residual(model))

    def minimum(self):
        return jnp.linalg.solve(self.design.T @ self.design + jnp.diag(self.weights), self.design.T @ self.data)


def _quartic(model):
    return jnp.sum((model - 0.3) ** 4)


_RIDGE = Ridge(_WEIGHTS, _DESIGN, _DATA)


@eqx.filter_jit
def _dense(outer, inner, solution, shift=0.0):
    """The formula with matrices, in every inexact leaf of `inner` and of the solution."""
    point, unravel = ravel_pytree(solution)
    hyper, rest = eqx.partition(inner, eqx.is_inexact_array)
    numbers, rebuild = ravel_pytree(hyper)

    def value(theta, phi):
        return eqx.combine(rebuild(phi), rest)(unravel(theta))

    hessian = jax.hessian(value)(point, numbers) + shift * np.eye(point.size)
    mixed = jax.jacobian(jax.grad(value), 1)(point, numbers)
    slope = jax.grad(lambda theta: outer(unravel(theta)))(point)
    return rebuild(-mixed.T @ jnp.linalg.solve(hessian, slope))


def test_it_is_the_derivative_of_the_minimum(key):
    """In weights, design and data, by every method."""
    exact = jax.jit(jax.grad(lambda inner: _quartic(inner.minimum())))(_RIDGE)
    minimum = _RIDGE.minimum()
    for method, tolerance in ((_CG, 1e-10), (Nystrom(6, 1e-12, key=key), 1e-9), (Neumann(2000, 0.03), 1e-9)):
        found, stats = hypergradient(_quartic, _RIDGE, minimum, method, with_stats=True)
        assert relative_error(found, exact) < tolerance
        assert stats.residual < 10 * tolerance
        assert stats.gradient_norm < 1e-12
        assert stats.result == kp.RESULTS.successful
        assert stats.products == {ConjugateGradient: 6, Nystrom: 6, Neumann: 2000}[type(method)]


class Logistic(eqx.Module):
    """Logistic regression with a weight decay for each parameter, held as its logarithm."""

    log_decay: Array
    inputs: Array
    labels: Array

    def __call__(self, model):
        logits = self.inputs @ model
        return jnp.mean(jax.nn.softplus(logits) - self.labels * logits) + 0.5 * jnp.sum(
            jnp.exp(self.log_decay) * model**2
        )


def _logistic():
    inputs = jr.normal(jr.key(3), (40, 5))
    labels = (inputs @ jnp.arange(1.0, 6.0) > 0).astype(float)
    decay = jnp.log(jnp.array([0.01, 0.1, 0.03, 0.2, 0.05]))
    return Logistic(decay, inputs[:20], labels[:20]), Logistic(jnp.full(5, -jnp.inf), inputs[20:], labels[20:])


@jax.jit
def _newton(loss):
    def step(_, theta):
        return theta - jnp.linalg.solve(jax.hessian(loss)(theta), jax.grad(loss)(theta))

    return jax.lax.fori_loop(0, 12, step, jnp.zeros(5))


def test_logistic_regression_against_refits(key):
    """Central differences of the validation loss at minima found anew."""
    inner, outer = _logistic()
    solution = _newton(inner)
    only = eqx.tree_at(lambda loss: loss.log_decay, jax.tree.map(lambda _: False, inner), replace=True)
    found = hypergradient(outer, inner, solution, _CG, hyperparameters=only)
    assert found.inputs is None
    step = 1e-5 * np.eye(5)
    moved = [eqx.tree_at(lambda loss: loss.log_decay, inner, inner.log_decay + s) for s in (*step, *-step)]
    values = np.array([outer(_newton(loss)) for loss in moved])
    np.testing.assert_allclose(found.log_decay, (values[:5] - values[5:]) / 2e-5, rtol=1e-6)
    assert relative_error(hypergradient(outer, inner, solution, _CG), _dense(outer, inner, solution)) < 1e-10
    damped = hypergradient(outer, inner, solution, Nystrom(5, 0.1, key=key))
    assert relative_error(damped, _dense(outer, inner, solution, 0.1)) < 1e-10


class Nested(eqx.Module):
    """A model of several leaves, one of which is no array, and one of which is not to be free."""

    parts: dict
    pair: tuple
    frozen: Array
    name: str = eqx.field(static=True, default="nested")


class NestedLoss(eqx.Module):
    decays: list
    scale: Array
    rate: float

    def residual(self, model):
        a, (b, c) = model.parts["a"], model.pair
        mixed = jnp.tanh(self.scale * a).sum() * b - model.frozen
        penalties = [jnp.exp(d) * x for d, x in zip(self.decays, (a, b, c), strict=True)]
        return {"mixed": mixed, "penalties": penalties, "last": jnp.sin(c) - self.rate}

    def __call__(self, model):
        return half_sum_of_squares(self.residual(model))


def _nested():
    a, b, c = jr.normal(jr.key(4), (2, 3)), jr.normal(jr.key(5), (4,)), jnp.asarray(0.7)
    loss = NestedLoss([jnp.asarray(0.3), jnp.linspace(-0.2, 0.4, 4), jnp.asarray(-0.1)], jnp.asarray(0.4), 0.5)
    return Nested({"a": a, "none": None}, (b, c), jnp.linspace(1.0, 2.0, 4)), loss


def _outer(model):
    return jnp.sum(model.parts["a"] ** 3) + jnp.sum(model.pair[0] * model.frozen) + model.pair[1] ** 2


_FREE = Nested({"a": True, "none": False}, (True, True), False)


def test_pytrees_with_what_is_not_free():
    """At a point that is no minimum: the formula is one of derivatives there."""
    model, loss = _nested()
    free, fixed = eqx.partition(model, _FREE)
    exact = _dense(lambda x: _outer(eqx.combine(x, fixed)), _Restricted(loss, fixed), free, 30.0).loss
    found, stats = hypergradient(
        _outer, loss, model, ConjugateGradient(60, 1e-13, 30.0), trainable=_FREE, with_stats=True
    )
    assert jax.tree.structure(found) == jax.tree.structure(eqx.filter_grad(lambda inner: inner(model))(loss))
    assert found.rate is None
    assert relative_error(found, exact) < 1e-10
    assert stats.gradient_norm > 0.1


class _Restricted(eqx.Module):
    loss: NestedLoss
    fixed: Nested

    def __call__(self, free):
        return self.loss(eqx.combine(free, self.fixed))


@pytest.mark.standard_promotion
def test_it_is_what_optax_takes():
    loss, validation = _RIDGE, _quartic
    optimiser = optax.adam(0.02)  # the weights stay positive
    only = eqx.tree_at(lambda ridge: ridge.weights, jax.tree.map(lambda _: False, loss), replace=True)

    @jax.jit
    def step(loss, state):
        minimum = loss.minimum()
        gradient = hypergradient(validation, loss, minimum, ConjugateGradient(20), hyperparameters=only)
        updates, state = optimiser.update(gradient, state)
        return eqx.apply_updates(loss, updates), state, validation(minimum)

    state, values = optimiser.init(eqx.filter(loss, only)), []
    for _ in range(10):
        loss, state, value = step(loss, state)
        values.append(float(value))
    assert np.all(np.diff(values) < 0)
    assert (loss.design == _DESIGN).all()


def test_the_gauss_newton_hessian_and_parts_of_it():
    """Far from the data the two Hessians differ; a part leaves the penalty to the damping."""
    target = jnp.linspace(0.0, 3.0, 6)
    loss = LeastSquares(lambda model: jnp.sin(2 * model) + model[::-1], target, 0.5) + Gaussian(lambda m: m, 0.7)
    model = jnp.linspace(-1.0, 1.0, 6)
    method = ConjugateGradient(60, 1e-13, 1.0)

    def x(curvature):
        """The inverse times ones, out of the hypergradient in the reference of the penalty, `x / 0.7²`."""
        inner = eqx.tree_at(lambda total: total.terms[1].reference, loss, jnp.zeros(6))
        return 0.7**2 * hypergradient(jnp.sum, inner, model, method, curvature=curvature).terms[1].reference

    residual = jax.jacobian(loss.terms[0].residual)(model)
    squares = residual.T @ residual
    penalty = jnp.eye(6) / 0.7**2
    ones = jnp.ones(6)
    for curvature, hessian in (
        (ExactHessian(), jax.hessian(loss)(model)),
        (GaussNewtonHessian(), squares + penalty),
        (GaussNewtonHessian(lambda inner: inner.terms[0]), squares),
    ):
        hessian = hessian + jnp.eye(6)
        if np.linalg.eigvalsh(hessian)[0] > 0:
            np.testing.assert_allclose(x(curvature), jnp.linalg.solve(hessian, ones), rtol=1e-9)
        else:
            with pytest.raises(RuntimeError, match="direction without curvature"):
                x(curvature)


def test_an_inner_product_changes_the_way_and_a_priors_the_damping(key):
    """Undamped the answer is the same in every product; damping of 1 in the prior's product is the prior."""
    grid = kp.Grid((5, 4), (0.0, 0.0), (1.0, 1.0))
    operator = jr.normal(key, (6, 20))
    prior = BiLaplacian(grid, lambda model: model["field"], jnp.asarray(0.5), 0.7)
    loss = LeastSquares(lambda model: operator @ model["field"].ravel() + model["level"], jnp.ones(6), 0.3) + prior
    model = {"field": jr.normal(jr.key(8), grid.shape), "level": jnp.asarray(0.2)}
    product = {"field": CameronMartin(prior), "level": None}
    plain = hypergradient(_field_outer, loss, model, ConjugateGradient(80, 1e-14))
    found, stats = hypergradient(
        _field_outer, loss, model, ConjugateGradient(60, 1e-9), inner_product=product, with_stats=True
    )
    assert relative_error(found.terms[1], plain.terms[1]) < 1e-7
    assert stats.products <= 9  # six data, the field's own eigenvalue of 1, the level
    field_only = {"field": True, "level": False}
    data_alone = {"curvature": GaussNewtonHessian(lambda inner: inner.terms[0]), "trainable": field_only}
    split = hypergradient(
        _field_outer, loss, model, ConjugateGradient(60, 1e-13, 1.0), inner_product=product["field"], **data_alone
    )
    whole = hypergradient(_field_outer, loss, model, ConjugateGradient(80, 1e-14), trainable=field_only)
    assert relative_error(split.terms[1], whole.terms[1]) < 1e-7
    # Six data are rank six.
    method = Nystrom(8, 1.0, key=key)
    low = low_rank_inverse(loss, model, method, inner_product=product["field"], **data_alone)
    for inverse in (method, low):
        again, stats = hypergradient(
            _field_outer, loss, model, inverse, inner_product=product["field"], with_stats=True, **data_alone
        )
        assert relative_error(again.terms[1], whole.terms[1]) < 1e-7
        assert stats.products == (8 if inverse is method else 0)
        assert stats.residual < 1e-9


def _field_outer(model):
    return jnp.sum(jnp.cos(model["field"]))


def test_new_numbers_do_not_compile_again(key):
    traces = []

    def outer(model):
        traces.append(None)
        return _quartic(model)

    for rho, scale in ((0.1, 1.0), (0.2, 2.0), (0.4, 3.0)):
        inner = eqx.tree_at(lambda ridge: ridge.weights, _RIDGE, scale * _WEIGHTS)
        method = Nystrom(3, rho, key=jr.fold_in(key, int(scale)))
        hypergradient(outer, inner, inner.minimum(), method)
        first = len(traces) if rho == 0.1 else first
    # One look at the shape of its value each time, which computes nothing.
    assert len(traces) <= first + 2


def test_vmap_over_losses_is_a_loop(key):
    weights = jnp.stack([_WEIGHTS, 2 * _WEIGHTS])

    def one(weights):
        inner = Ridge(weights, _DESIGN, _DATA)
        return hypergradient(_quartic, inner, inner.minimum(), Nystrom(3, 0.1, key=key)).weights

    np.testing.assert_allclose(jax.vmap(one)(weights), [one(w) for w in weights], rtol=1e-9)


def test_single_precision_and_mixed_precision(key):
    """Leaves keep their precision; the vector has the widest."""
    ridge = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), _RIDGE)
    exact = hypergradient(_quartic, _RIDGE, _RIDGE.minimum(), ConjugateGradient(60, 1e-13, 0.01))
    for method in (ConjugateGradient(60, 1e-6, 0.01), Nystrom(6, 0.01, key=key)):
        found = hypergradient(_quartic, ridge, ridge.minimum(), method)
        assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype(jnp.float32)}
        assert relative_error(found, exact) < 1e-3

    def mixed(weights, model):
        return jnp.sum(weights * (model[0] - 1.0) ** 2) + jnp.sum((model[1].astype(float) * model[0] - 1) ** 2)

    inner = jax.tree_util.Partial(mixed, jnp.asarray(0.7))
    model = (jnp.linspace(0.5, 1.0, 3), jnp.asarray(0.8, jnp.float32))
    wide = (model[0], model[1].astype(float))

    def outer(model):
        return jnp.sum(model[0]) * model[1].astype(float)

    narrow, reference = (hypergradient(outer, inner, m, ConjugateGradient(20, 1e-8, 2.0)) for m in (model, wide))
    np.testing.assert_allclose(narrow.args[0], reference.args[0], rtol=1e-5)


def test_failures_raise_or_tell(key):
    saddle = jax.tree_util.Partial(lambda w, x: w * (x[0] ** 2 - x[1] ** 2), jnp.asarray(1.0))
    point = jnp.array([0.1, 0.2])
    for method in (ConjugateGradient(5), Nystrom(2, 0.1, key=key)):
        with pytest.raises(RuntimeError, match="direction without curvature"):
            hypergradient(jnp.sum, saddle, point, method)
        gradient, stats = hypergradient(jnp.sum, saddle, point, method, throw=False, with_stats=True)
        assert stats.result == kp.RESULTS.not_positive_definite
        assert jnp.isfinite(gradient.args[0])
    with pytest.raises(RuntimeError, match=r"`step_size` of `kp\.inverse\.Neumann` is larger than 2"):
        hypergradient(_quartic, _RIDGE, _RIDGE.minimum(), Neumann(5, 1.0))
    infinite = eqx.tree_at(lambda ridge: ridge.weights, _RIDGE, _WEIGHTS.at[0].set(jnp.nan))
    with pytest.raises(RuntimeError, match=r"not finite|without curvature"):
        hypergradient(_quartic, infinite, jnp.ones(6), _CG)


@pytest.mark.bad_input
def test_bad_arguments(key):
    minimum = _RIDGE.minimum()
    with pytest.raises(ValueError, match=r"a function, has no hyperparameters\. .*jnp\.asarray\(0\.1\)"):
        hypergradient(_quartic, _quartic, minimum, _CG)
    with pytest.raises(ValueError, match="has no hyperparameters"):
        hypergradient(_quartic, _RIDGE, minimum, _CG, hyperparameters=False)
    with pytest.raises(ValueError, match="the solution has no free leaves"):
        hypergradient(_quartic, _RIDGE, minimum, _CG, trainable=False)
    with pytest.raises(TypeError, match="is complex"):
        hypergradient(lambda m: jnp.sum(jnp.abs(m) ** 2), _RIDGE, minimum.astype(complex), _CG)
    with pytest.raises(ValueError, match=r"outer\(solution\) must be one real number"):
        hypergradient(lambda model: model, _RIDGE, minimum, _CG)
    with pytest.raises(ValueError, match=r"inner\(solution\) must be one real number"):
        hypergradient(_quartic, jax.tree_util.Partial(lambda w, m: w * m, jnp.ones(())), minimum, _CG)
    with pytest.raises(ValueError, match="rank is 7, but there are 6 unknowns"):
        hypergradient(_quartic, _RIDGE, minimum, Nystrom(7, 1.0, key=key))
    with pytest.raises(ValueError, match="keeps nothing that could be used again"):
        low_rank_inverse(_RIDGE, minimum, Nystrom(3, 1.0, key=key, block_size=1))
    for wrong in ("cg", Nystrom):
        with pytest.raises(TypeError, match=r"method must be a ConjugateGradient\(\.\.\.\), Nystrom"):
            hypergradient(_quartic, _RIDGE, minimum, wrong)
    with pytest.raises(TypeError, match="only a Nystrom makes a factorisation"):
        low_rank_inverse(_RIDGE, minimum, _CG)
    with pytest.raises(TypeError, match="inner_product holds a float"):
        hypergradient(_quartic, _RIDGE, minimum, _CG, inner_product=1.0)
    variation = TotalVariation(kp.Grid((6,), 0.0, 1.0), lambda model: model, jnp.asarray(1.0), 0.1)
    with pytest.raises(TypeError, match="TotalVariation is not a sum of squares"):
        hypergradient(_quartic, variation, minimum, _CG, curvature=GaussNewtonHessian())
    plain = jax.tree_util.Partial(lambda w, m: w * jnp.sum(m**2), jnp.ones(()))
    with pytest.raises(TypeError, match=r"Partial has no method `residual\(model\)`"):
        hypergradient(_quartic, plain, minimum, _CG, curvature=GaussNewtonHessian())
    wrong = jax.tree_util.Partial(lambda w, m: w[0] * jnp.sum(m**2), (jnp.ones(()), jnp.arange(3)))
    with pytest.raises(TypeError, match="selects a leaf that has no derivative"):
        hypergradient(_quartic, wrong, minimum, _CG, hyperparameters=eqx.is_array)
