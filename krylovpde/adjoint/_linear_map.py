"""One primitive: a map that is linear in some of its arguments and whose transpose is told, not derived.

`jax.custom_vjp` forbids forward mode, `jax.custom_jvp` wants tangents that JAX can transpose (a Krylov loop is not),
and `jax.custom_derivatives.linear_call` has no batching rule. This primitive has all three: its tangent is itself, its
transpose the function that was given, and `vmap` maps both.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import PyTree


def linear_map(
    forward: Callable[[Any, Any], Any],
    backward: Callable[[Any, Any], Any],
    residuals: PyTree,
    arguments: PyTree,
    like: PyTree,
) -> PyTree:
    """Evaluates `forward(residuals, arguments)`, which must be linear in `arguments`.

    **Arguments:**

    - `forward(residuals, arguments)`: linear in `arguments`, a pytree of inexact arrays.
    - `backward(residuals, cotangents)`: its transpose (bilinear, never conjugated), with the structure of `arguments`.
    - `residuals`: everything else that both depend on; arrays. Neither function may close over a traced array.
    - `arguments`: where to evaluate.
    - `like`: arrays of the result's structure, shapes and dtypes. Told rather than inferred, so that neither function
        is traced before it is needed: a gradient never traces `forward`.

    Both functions are differentiated by JAX with respect to their residuals when somebody asks for a higher
    derivative, so they must themselves be made of rules that can be.
    """
    residual_leaves, residual_tree = jtu.tree_flatten(residuals)
    leaves, tree = jtu.tree_flatten(arguments)
    likes, out_tree = jtu.tree_flatten(like)

    def flat(function, tree):
        def call(residual_leaves, leaves):
            # A literal comes here as a NumPy array.
            residual_leaves, leaves = (list(map(jnp.asarray, part)) for part in (residual_leaves, leaves))
            out = function(jtu.tree_unflatten(residual_tree, residual_leaves), jtu.tree_unflatten(tree, leaves))
            return tuple(jtu.tree_leaves(out))

        return call

    out = _linear_map_p.bind(
        *residual_leaves,
        *leaves,
        forward=flat(forward, tree),
        backward=flat(backward, out_tree),
        num_residuals=len(residual_leaves),
        out_types=tuple((x.shape, np.dtype(x.dtype)) for x in likes),
    )
    return jtu.tree_unflatten(out_tree, out)


_linear_map_p = Primitive("krylovpde_linear_map")
_linear_map_p.multiple_results = True


@_linear_map_p.def_impl
def _evaluate(*operands, forward, backward, num_residuals, out_types):
    del backward, out_types
    return list(forward(operands[:num_residuals], operands[num_residuals:]))


@_linear_map_p.def_abstract_eval
def _abstract(*operands, forward, backward, num_residuals, out_types):
    del operands, forward, backward, num_residuals
    return [ShapedArray(shape, dtype) for shape, dtype in out_types]


def _jvp(primals, tangents, *, forward, num_residuals, **others):
    parameters = {"forward": forward, "num_residuals": num_residuals, **others}
    out = _linear_map_p.bind(*primals, **parameters)
    residuals, arguments = tuple(primals[:num_residuals]), tuple(primals[num_residuals:])
    residual_tangents, argument_tangents = tangents[:num_residuals], tangents[num_residuals:]
    totals: list[Any] = [None] * len(out)
    if any(type(tangent) is not ad.Zero for tangent in argument_tangents):
        instantiated = [ad.instantiate_zeros(tangent) for tangent in argument_tangents]
        totals = list(_linear_map_p.bind(*residuals, *instantiated, **parameters))
    moving = [i for i, tangent in enumerate(residual_tangents) if type(tangent) is not ad.Zero]
    if moving:
        # Only the residuals that move are differentiated: symbolic zeros stay symbolic, and cost nothing.
        def along(*values):
            replaced = list(residuals)
            for i, value in zip(moving, values, strict=True):
                replaced[i] = value
            return forward(tuple(replaced), arguments)

        changes = jax.jvp(along, [residuals[i] for i in moving], [residual_tangents[i] for i in moving])[1]
        totals = [b if a is None else a + b for a, b in zip(totals, changes, strict=True)]
    totals = [jnp.zeros_like(x) if total is None else total for x, total in zip(out, totals, strict=True)]
    return out, totals


def _transpose(cotangents, *operands, forward, backward, num_residuals, out_types):
    del out_types
    residuals, arguments = operands[:num_residuals], operands[num_residuals:]
    cotangents = [ad.instantiate_zeros(cotangent) for cotangent in cotangents]
    # A linear argument is undefined here, or, if it does not depend on what is differentiated, an array.
    avals = [x.aval if ad.is_undefined_primal(x) else x for x in arguments]
    out = _linear_map_p.bind(
        *residuals,
        *cotangents,
        forward=backward,
        backward=forward,
        num_residuals=num_residuals,
        out_types=tuple((x.shape, np.dtype(x.dtype)) for x in avals),
    )
    pulled = [x if ad.is_undefined_primal(y) else None for x, y in zip(out, arguments, strict=True)]
    return [None] * num_residuals + pulled


def _batch(operands, axes, *, forward, backward, num_residuals, out_types):
    size = next(x.shape[axis] for x, axis in zip(operands, axes, strict=True) if axis is not None)
    moved = []
    for i, (x, axis) in enumerate(zip(operands, axes, strict=True)):
        if axis is not None:
            moved.append(jnp.moveaxis(x, axis, 0))
        else:
            # Linear arguments are all batched, so that the transpose returns them so; residuals stay as they are.
            moved.append(x if i < num_residuals else jnp.broadcast_to(x, (size, *x.shape)))
    residual_axes = tuple(None if axis is None else 0 for axis in axes[:num_residuals])
    out = _linear_map_p.bind(
        *moved,
        forward=jax.vmap(forward, in_axes=(residual_axes, 0), axis_size=size),
        backward=jax.vmap(backward, in_axes=(residual_axes, 0), axis_size=size),
        num_residuals=num_residuals,
        out_types=tuple(((size, *shape), dtype) for shape, dtype in out_types),
    )
    return out, [0] * len(out)


ad.primitive_jvps[_linear_map_p] = _jvp
ad.primitive_transposes[_linear_map_p] = _transpose
batching.primitive_batchers[_linear_map_p] = _batch
mlir.register_lowering(_linear_map_p, mlir.lower_fun(_evaluate, multiple_results=True))
