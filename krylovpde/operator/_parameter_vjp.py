"""The derivative of `<b, A(θ) x>` in the parameters, the innermost piece of every reversed recurrence.

By hand for stencils: JAX's own transposes its slices into pads, one field each, and takes three times as long as the
operator; products of jumps across the faces take about as long as the operator (examples/benchmarks/kernels.py).
"""

import functools as ft

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
import numpy as np
from jaxtyping import Array, PyTree

from ._flux import FluxOperator, reciprocal_measures
from ._kernel import FaceCoefficients, following, pad, periodic_jump, preceding


@ft.singledispatch
def parameter_vjp(operator: lx.AbstractLinearOperator, x: PyTree[Array], cotangent: PyTree[Array]) -> PyTree:
    """The cotangents of the operator's inexact arrays, laid out as `eqx.filter(operator, eqx.is_inexact_array)`.

    `cotangent`: `b`, like `A x`; the product is bilinear, without conjugation.
    """
    theta, rest = eqx.partition(operator, eqx.is_inexact_array)
    return jax.vjp(lambda theta: eqx.combine(theta, rest).mv(x), theta)[1](cotangent)[0]


@parameter_vjp.register(FluxOperator)
def _(operator, x, cotangent):
    if any(jnp.iscomplexobj(leaf) for leaf in jtu.tree_leaves(operator)):
        return parameter_vjp.dispatch(lx.AbstractLinearOperator)(operator, x, cotangent)
    if operator.transposed:
        # <b, Aᵀ x> = <x, A b>.
        x, cotangent = cotangent, x
    if jnp.iscomplexobj(x):
        # Real parameters see the real part: Re <b, dA x> = <Re b, dA Re x> - <Im b, dA Im x>.
        pairs = ((x.real, cotangent.real), (x.imag, -cotangent.imag))
        return jtu.tree_map(jnp.add, *(_of_real(operator, *pair) for pair in pairs))
    return _of_real(operator, x, cotangent)


def _of_real(operator: FluxOperator, x: Array, cotangent: Array) -> PyTree:
    theta = eqx.filter(operator, eqx.is_inexact_array)
    grid, scale = operator.grid, operator.scale
    scaled = cotangent if scale is None else scale.astype(cotangent.dtype) * cotangent
    faces = tuple(
        _of_faces(operator, axis, x, _times(scaled, reciprocal_measures(grid, axis))) for axis in range(grid.ndim)
    )
    product = ft.cache(lambda: scaled * x)
    diagonal = tuple(_fold(product(), term) if eqx.is_array(term) else term for term in theta.diagonal)
    change = eqx.tree_at(lambda op: (op.faces, op.diagonal), theta, (faces, diagonal))
    if scale is None:
        return change
    plain = FluxOperator(grid, operator.faces, operator.diagonal, None, operator.periodic)
    total = cotangent * plain.mv(x)
    return eqx.tree_at(lambda op: op.scale, change, _fold(total, scale))


def _of_faces(operator: FluxOperator, axis: int, u: Array, y: Array) -> FaceCoefficients:
    """With `δ_j = y_(j+1) - y_j` and `g_j = u_(j+1) - u_j`: `-δ g`, `δ u`, `δ g_(j-1)`, `δ g_(j+1)`."""
    own = eqx.filter(operator.faces[axis], eqx.is_inexact_array)
    if not jtu.tree_leaves(own):
        return own
    periodic = operator.periodic[axis]
    jump, difference = _jump(u, axis, periodic), _jump(y, axis, periodic)

    def product(coefficient: Array | None, factor: Array) -> Array | None:
        return coefficient if not eqx.is_array(coefficient) else _fold(difference * factor, coefficient)

    return FaceCoefficients(
        product(own.exchange, -jump),
        product(own.transport, u),
        product(own.upstream, preceding(jump, axis, periodic)),
        product(own.downstream, following(jump, axis, periodic)),
    )


def _jump(u: Array, axis: int, periodic: bool) -> Array:
    """`u_(j+1) - u_j`, zero across a wall."""
    if periodic:
        return periodic_jump(u, axis)
    size = u.shape[axis]
    inner = jax.lax.slice_in_dim(u, 1, size, axis=axis) - jax.lax.slice_in_dim(u, 0, size - 1, axis=axis)
    return pad(inner, axis, 0, 1)


def _times(y: Array, factor: np.ndarray | None) -> Array:
    return y if factor is None else y * jnp.asarray(factor, y.dtype)


def _fold(values: Array, like: Array) -> Array:
    """Summed over the axes along which a coefficient is the same everywhere, in its precision."""
    missing = values.ndim - like.ndim
    axes = tuple(axis for axis in range(values.ndim) if axis < missing or like.shape[axis - missing] == 1)
    folded = jnp.sum(values, axis=axes, keepdims=True) if axes else values
    return folded.reshape(like.shape).astype(like.dtype)
