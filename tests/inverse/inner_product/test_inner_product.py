"""Inner products: their Riesz maps and factors, and what they are for: iterations that do not grow with the mesh."""

import itertools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

import krylovpde as kp
from krylovpde.inverse import (
    H1,
    L2,
    BiLaplacian,
    CameronMartin,
    Euclidean,
    Gaussian,
    InInnerProduct,
    LeastSquares,
    Tikhonov,
    value_of,
)
from tests.helpers import dense, relative_error, variants

_PLANE = kp.Grid.from_edges([np.linspace(0, 1, 8) ** 1.3, np.linspace(0, 2, 6)])
_X, _Y = kp.Grid((8, 6), (0.0, 0.0), (1.0, 1.0)).coordinates
_GRIDS = {
    "graded": _PLANE,
    "masked": kp.Grid((8, 6), (0.0, 0.0), (1.0, 1.0), active=_X + _Y < 1.4),
    "cylinder": kp.RadialGrid(np.geomspace(0.1, 10.0, 16), 2),
}
_PRODUCTS = {"L2": L2, "H1": lambda grid: H1(grid, 0.3)}


@pytest.mark.parametrize(("kind", "name"), variants(itertools.product(_PRODUCTS, _GRIDS), slow=[("H1", "masked")]))
def test_riesz_map_and_factor(kind, name, key):
    grid = _GRIDS[name]
    product = _PRODUCTS[kind](grid)
    u, w, derivative, raw, other = jnp.where(grid.active, jr.normal(key, (5, *grid.shape)), 0.0)

    @jax.jit
    def all_of_them():
        gradient, field, second = product.riesz(derivative), product.factor(raw), product.factor(other)
        transposed = jax.linear_transpose(product.factor, raw)(derivative)[0]
        return gradient, field, second, product.factor(transposed), product.solve_factor(field)

    gradient, field, second, mapped, solved = all_of_them()
    np.testing.assert_allclose(product.inner(u, w), product.inner(w, u), rtol=1e-12)
    np.testing.assert_allclose(product.norm(u) ** 2, product.inner(u, u), rtol=1e-12)
    # <g, w> = derivative · w for every w
    np.testing.assert_allclose(product.inner(gradient, w), jnp.sum(derivative * w), rtol=1e-9)
    # S is an isometry with an inverse, and S Sᵀ the Riesz map.
    np.testing.assert_allclose(product.inner(field, second), jnp.sum(raw * other), rtol=1e-9)
    assert relative_error(solved, raw) < 1e-9
    assert relative_error(mapped, gradient) < 1e-9


_PRIORS = {
    "graded": BiLaplacian(_PLANE, lambda field: field, 0.7, (0.6, 1.5), 0.3, weight=2.0),
    "held walls": BiLaplacian(_PLANE, lambda field: field, 0.7, 0.6, boundary=kp.Dirichlet()),
    "masked": BiLaplacian(_GRIDS["masked"], lambda field: field, 0.7, 0.8),
    "numbers": Gaussian(lambda numbers: numbers, jnp.asarray([0.5, 2.0, 1.0]), 0.3),
}


@pytest.mark.parametrize("name", variants(_PRIORS, slow=["held walls"]))
def test_a_priors_product_is_the_prior(name, key):
    """`½ |u|²` is the penalty, the coordinates of a sample are the noise that it was made of, `S Sᵀ` the covariance."""
    prior = _PRIORS[name]
    product, grid = CameronMartin(prior), getattr(prior, "grid", None)
    active = True if grid is None else grid.active
    shape = (3,) if grid is None else grid.shape
    u, derivative, noise = jnp.where(active, jr.normal(key, (3, *shape)), 0.0)
    mean = jnp.where(active, prior.reference, 0.0)
    np.testing.assert_allclose(0.5 * product.inner(u, u), prior(mean + u), rtol=1e-10)
    assert relative_error(mean + product.factor(noise), jnp.where(active, prior.colour(noise), 0.0)) < 1e-10
    assert relative_error(product.solve_factor(product.factor(noise)), noise) < 1e-9
    transposed = jax.linear_transpose(product.factor, noise)(derivative)[0]
    gradient = product.riesz(derivative)
    assert relative_error(product.factor(transposed), gradient) < 1e-9
    np.testing.assert_allclose(product.inner(gradient, u), jnp.sum(derivative * u), rtol=1e-7)


def test_the_numbers_of_a_priors_product_are_constants():
    def length(deviation):
        prior = BiLaplacian(_PLANE, lambda field: field, deviation, 0.6)
        return CameronMartin(prior).norm(jnp.ones(_PLANE.shape))

    assert jax.jit(jax.grad(length))(0.7) == 0.0


@pytest.mark.bad_input
def test_a_product_of_no_prior():
    with pytest.raises(TypeError, match="a prior that whitens and colours is needed"):
        CameronMartin(Tikhonov(_PLANE, lambda field: field, 1.0))


def test_h1_is_the_product_of_values_and_slopes():
    matrix = np.asarray(dense(kp.Laplacian(_PLANE)))
    volumes = _PLANE.cell_volumes.ravel()
    gram = volumes[:, None] * (np.eye(volumes.size) - 0.3**2 * matrix)
    product = H1(_PLANE, 0.3)
    u, w = jr.normal(jr.key(1), (2, *_PLANE.shape))
    np.testing.assert_allclose(product.inner(u, w), np.ravel(u) @ gram @ np.ravel(w), rtol=1e-12)
    np.testing.assert_allclose(np.ravel(product.riesz(u)), np.linalg.solve(gram, np.ravel(u)), rtol=1e-9)
    slope = H1(_PLANE, (0.5, 0.0))
    y = jnp.asarray(_PLANE.coordinates[1])
    np.testing.assert_allclose(slope.inner(y, y), _PLANE.inner(y, y), rtol=1e-13)
    np.testing.assert_allclose(H1(_PLANE, 0.0).riesz(u), L2(_PLANE).riesz(u), rtol=1e-10)


def test_norms_are_those_of_continuous_fields():
    """∫ sin²(πx) = 1/2 and ∫ π² cos²(πx) = π²/2 on every grid."""
    for grid in (kp.Grid((200,), (0.0,), (1.0,)), kp.Grid.from_edges([np.linspace(0, 1, 301) ** 1.5])):
        u = jnp.sin(jnp.pi * jnp.asarray(grid.coordinates[0]))
        assert L2(grid).inner(u, u) == pytest.approx(0.5, rel=1e-3)
        # The half cells at the walls, where the slope is largest, have no face inside.
        assert H1(grid, 0.4).inner(u, u) == pytest.approx(0.5 + 0.16 * np.pi**2 / 2, rel=1e-2)
        assert bool(jnp.isfinite(jax.grad(H1(grid, 0.4).norm)(jnp.zeros(grid.shape))[0]))


def test_euclid_changes_nothing(key):
    u, w = jr.normal(key, (2, 5))
    assert Euclidean().inner(u, w) == jnp.sum(u * w)
    for mapped in (Euclidean().riesz(u), Euclidean().factor(u), Euclidean().solve_factor(u)):
        np.testing.assert_array_equal(mapped, u)


# --- iterations: a field seen by averages, with a penalty on its slopes


def _problem(num_cells: int):
    grid = kp.Grid((num_cells, num_cells), (0.0, 0.0), (1.0, 1.0))
    x, y = (jnp.asarray(c) for c in grid.coordinates)
    places = [(0.2, 0.3), (0.7, 0.25), (0.5, 0.6), (0.25, 0.8), (0.8, 0.75)]
    windows = jnp.stack([jnp.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * 0.1**2)) for a, b in places])

    def predict(model):
        return jnp.sum(windows * jnp.asarray(grid.cell_volumes) * value_of(model), axis=(1, 2))

    truth = jnp.cos(3 * x) * y
    loss = LeastSquares(predict, predict(truth), 0.003)
    penalty = Tikhonov(grid, value_of, 1.0) + Tikhonov(grid, value_of, 30.0, order=0)
    return grid, loss + penalty


def _iterations(step, model, state, loss, limit=400):
    """How many steps until the norm of the gradient, in the same product for all, is a thousandth of what it was."""

    def body(carry):
        model, state, _, first, count = carry
        value, gradient = jax.value_and_grad(loss)(model)
        norm = jnp.linalg.norm(_in_product(gradient, loss))
        model, state = step(model, state, value, gradient)
        return model, state, norm, jnp.where(count == 0, norm, first), count + 1

    def go_on(carry):
        _, _, norm, first, count = carry
        return (norm > 1e-3 * first) & (count < limit)

    infinite = jnp.asarray(jnp.inf)
    start = (model, state, infinite, jnp.ones(()), jnp.asarray(0))
    return int(jax.jit(lambda: jax.lax.while_loop(go_on, body, start)[4])())


def _in_product(gradient, loss):
    """The gradient in the raw numbers of H¹, whatever it was taken in."""
    if isinstance(gradient, InInnerProduct):
        return gradient.raw
    return jax.linear_transpose(H1(loss.terms[1].grid, 0.2).factor, gradient)(gradient)[0]


def _steepest(loss):
    """Exact line search: the loss is quadratic."""

    def step(model, state, value, gradient):
        del value
        squares = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(gradient))
        _, seen = jax.jvp(loss.residual, (model,), (gradient,))
        length = squares / sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(seen))
        return jax.tree.map(lambda m, g: m - length * g, model, gradient), state

    return step, lambda _: jnp.zeros(())


def _lbfgs(loss):
    optimiser = optax.lbfgs(linesearch=optax.scale_by_backtracking_linesearch(20, store_grad=False))

    def step(model, state, value, gradient):
        updates, state = optimiser.update(gradient, state, model, value=value, grad=gradient, value_fn=loss)
        return optax.apply_updates(model, updates), state

    return step, optimiser.init


def _count(num_cells, wrapped, make):
    grid, loss = _problem(num_cells)
    zero = jnp.zeros(grid.shape)
    model = InInnerProduct(zero, H1(grid, 0.2)) if wrapped else zero
    step, init = make(loss)
    return _iterations(step, model, init(model), loss)


@pytest.mark.standard_promotion
@pytest.mark.parametrize("make", [pytest.param(_steepest, marks=pytest.mark.slow), _lbfgs])
def test_iterations_do_not_grow_with_the_mesh(make):
    coarse, fine = (_count(n, True, make) for n in (16, 64))
    assert fine <= coarse + 2
    plain_coarse, plain_fine = (_count(n, False, make) for n in (16, 64))
    assert plain_fine > 2 * plain_coarse
    assert plain_fine > 3 * fine


def test_steps_are_those_of_a_preconditioned_iteration(key):
    grid, loss = _problem(16)
    product = H1(grid, 0.2)
    u = jr.normal(key, grid.shape)

    @jax.jit
    def both(u):
        wrapped, derivative = InInnerProduct.from_value(u, product), jax.grad(loss)(u)
        gradient = jax.grad(loss)(wrapped)
        moved = jax.tree.map(lambda m, g: m - 0.01 * g, wrapped, gradient)
        return moved.value, gradient.raw, product.riesz(derivative)

    moved, gradient, preconditioned = both(u)
    assert relative_error(moved, u - 0.01 * preconditioned) < 1e-10
    # Its squared length is the decrease per unit of step: that of the gradient in the product.
    np.testing.assert_allclose(jnp.sum(gradient**2), product.inner(preconditioned, preconditioned), rtol=1e-8)


@pytest.mark.bad_input
def test_bad_input():
    with pytest.raises(ValueError, match="not negative; got -1"):
        H1(_PLANE, -1.0)
    with pytest.raises(ValueError, match=r"takes a field of shape \(7, 5\)"):
        L2(_PLANE).riesz(jnp.zeros(3))
