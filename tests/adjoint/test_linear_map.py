"""The primitive on its own: a linear map with a transpose that is told."""

import jax
import jax.numpy as jnp
import numpy as np

from krylovpde.adjoint._linear_map import linear_map
from tests.helpers import relative_error

MATRIX = jnp.asarray(np.random.default_rng(0).standard_normal((3, 4)))
X = jnp.asarray([1.0, -2.0, 0.5, 3.0])
TRACED = []


def forward(residuals, x):
    TRACED.append("forward")
    return {"y": residuals["matrix"] @ x["x"]}


def backward(residuals, y):
    TRACED.append("backward")
    # Marked by a factor, so that the tests see which of the two has run.
    return {"x": 2.0 * (residuals["matrix"].T @ y["y"])}


def apply(matrix, x):
    like = {"y": jnp.zeros(3)}
    return linear_map(forward, backward, {"matrix": matrix}, {"x": x}, like)["y"]


def test_value_tangent_and_transpose():
    direction = jnp.asarray([0.3, 0.1, 0.0, -1.0])
    for wrap in (lambda f: f, jax.jit):
        assert jnp.allclose(wrap(apply)(MATRIX, X), MATRIX @ X)
        value, tangent = jax.jvp(wrap(lambda x: apply(MATRIX, x)), (X,), (direction,))
        assert jnp.allclose(value, MATRIX @ X)
        assert jnp.allclose(tangent, MATRIX @ direction)
        pulled = jax.vjp(wrap(lambda x: apply(MATRIX, x)), X)[1](jnp.ones(3))[0]
        assert jnp.allclose(pulled, 2.0 * MATRIX.T @ jnp.ones(3))
    # The transpose of the transpose is the map itself.
    double = jax.linear_transpose(lambda y: jax.linear_transpose(lambda x: apply(MATRIX, x), X)(y)[0], jnp.ones(3))
    assert jnp.allclose(double(X)[0], MATRIX @ X)


def test_residuals_are_differentiated_by_jax():
    change = jnp.ones_like(MATRIX)
    tangent = jax.jvp(lambda m: apply(m, X), (MATRIX,), (change,))[1]
    assert jnp.allclose(tangent, change @ X)
    both = jax.jvp(apply, (MATRIX, X), (change, X))[1]
    assert jnp.allclose(both, change @ X + MATRIX @ X)
    # Where the arguments are fixed, JAX's own rules differentiate `forward` in reverse, too.
    gradient = jax.grad(lambda m: jnp.sum(apply(m, X)))(MATRIX)
    assert jnp.allclose(gradient, jnp.broadcast_to(X, (3, 4)))
    # Differentiating the transpose sees `backward`.
    pulled = jax.grad(lambda m: jnp.sum(jax.vjp(lambda x: apply(m, x), X)[1](jnp.ones(3))[0]))(MATRIX)
    assert jnp.allclose(pulled, 2.0)


def test_batches():
    matrices, xs = jnp.stack([MATRIX, 2.0 * MATRIX]), jnp.stack([X, X[::-1]])
    expected = jnp.einsum("kij,kj->ki", matrices, xs)
    assert jnp.allclose(jax.vmap(apply)(matrices, xs), expected)
    assert jnp.allclose(jax.vmap(apply, in_axes=(None, 0))(MATRIX, xs), xs @ MATRIX.T)
    assert jnp.allclose(jax.vmap(apply, in_axes=(0, None))(matrices, X), jnp.stack([MATRIX @ X, 2 * MATRIX @ X]))
    assert jnp.allclose(jax.vmap(apply, in_axes=(2, 1))(jnp.moveaxis(matrices, 0, 2), xs.T), expected)
    jacobians = jax.vmap(jax.jacrev(apply, argnums=1))(matrices, xs)
    assert jnp.allclose(jacobians, 2.0 * matrices)
    assert jnp.allclose(jax.jacfwd(apply, argnums=1)(MATRIX, X), MATRIX)
    nested = jax.vmap(jax.vmap(apply, in_axes=(None, 0)), in_axes=(0, None))(matrices, xs)
    assert relative_error(nested, jnp.einsum("kij,lj->kli", matrices, xs)) < 1e-14


def test_a_gradient_never_traces_the_forward_map():
    # What is not asked for is not compiled: the tangent's Krylov loop is most of the time of a compilation.
    _, linear = jax.linearize(lambda x: apply(MATRIX, x), X)
    TRACED.clear()
    jax.make_jaxpr(lambda y: jax.linear_transpose(linear, X)(y))(jnp.ones(3)).jaxpr  # noqa: B018
    jax.jit(lambda y: jax.linear_transpose(linear, X)(y)[0]).lower(jnp.ones(3))
    assert set(TRACED) == {"backward"}
