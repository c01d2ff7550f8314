"""Errors of the value and of two gradients over the Krylov dimension, for any operator with smooth data."""

import functools as ft
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx

import krylovpde as kp


class SmoothCase(NamedTuple):
    """`exp(duration A(parameter)) start`, paired with a cotangent; states are pytrees of arrays."""

    operator: Callable[[jax.Array], lx.AbstractLinearOperator]
    parameter: jax.Array
    start: Any
    cotangent: Any
    duration: float
    dimensions: tuple[int, ...]


Errors = dict[str, list[float]]


def relative(value: Any, reference: Any) -> float:
    """`‖value - reference‖ / ‖reference‖` over all leaves."""
    return float(length(jtu.tree_map(jnp.subtract, value, reference)) / length(reference))


def length(tree: Any) -> jax.Array:
    """The Euclidean norm over all leaves."""
    return jnp.sqrt(pairing(tree, tree))


def pairing(first: Any, second: Any) -> jax.Array:
    """The sum over all leaves of their dot products."""
    return jnp.sum(jnp.stack(jtu.tree_leaves(jtu.tree_map(jnp.vdot, first, second))))


def value_and_gradient(case: SmoothCase, method: Any, adjoint: Any) -> tuple[Any, jax.Array]:
    """`exp(tA) v`, and the gradient of its product with the cotangent with respect to the parameter."""
    # A fixed dimension is wanted here, not a tolerance: the result is looked at whether or not it met one.
    tolerance = 20 * float(jnp.finfo(case.parameter.dtype).eps)
    options = {"method": method, "adjoint": adjoint, "rtol": tolerance, "max_steps": 1, "throw": False}

    def objective(parameter: jax.Array) -> tuple[jax.Array, Any]:
        value = kp.expm_multiply(case.operator(parameter), case.start, case.duration, **options).value
        return pairing(case.cotangent, value), value

    (_, value), gradient = jax.jit(jax.value_and_grad(objective, has_aux=True))(case.parameter)
    return value, gradient


def two_sided_gradient(case: SmoothCase, dimension: int) -> jax.Array:
    """The gradient from one step with two spaces of exactly this dimension, from the public factorization."""
    operator = case.operator(case.parameter)
    forward = kp.arnoldi(operator, case.start, dimension)
    backward = kp.arnoldi(operator.transpose(), case.cotangent, dimension)
    unit = jnp.zeros_like(forward.matrix).at[0, 0].set(1.0)
    block = jnp.block([[backward.matrix, unit], [jnp.zeros_like(unit), forward.matrix.T]])
    table = jax.scipy.linalg.expm(case.duration * block, max_squarings=32)[:dimension, dimension:]
    table = table * forward.norm * backward.norm

    def images(parameter: jax.Array) -> Any:
        return jax.vmap(case.operator(parameter).mv)(forward.basis)

    weights = jtu.tree_map(lambda rows: jnp.tensordot(table.T, rows, 1), backward.basis)
    return jax.vjp(images, case.parameter)[1](weights)[0]


def exact(case: SmoothCase) -> tuple[Any, jax.Array]:
    """Value and gradient by the dense exponential."""
    return value_and_gradient(case, kp.Dense(), kp.DirectAdjoint())


def errors_over_dimension(case: SmoothCase) -> Errors:
    """Relative errors, a number for each of the case's dimensions."""
    exact_value, exact_gradient = exact(case)
    found: Errors = {"value": [], "discrete adjoint": [], "two-sided adjoint": []}
    # Compiled once for each dimension.
    two_sided = jax.jit(ft.partial(two_sided_gradient, case), static_argnums=0)
    for dimension in case.dimensions:
        value, gradient = value_and_gradient(case, kp.Arnoldi(max_dimension=dimension), kp.IterationAdjoint())
        found["value"].append(relative(value, exact_value))
        found["discrete adjoint"].append(relative(gradient, exact_gradient))
        found["two-sided adjoint"].append(relative(two_sided(dimension), exact_gradient))
    return found
