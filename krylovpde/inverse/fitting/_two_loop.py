"""The inverse of a Hessian from the last few changes of the gradient."""

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Bool, Int, PyTree, Scalar

from ._tree import add_scaled, dot, only, scale


def newton_like(
    gradient: PyTree[Array],
    steps: PyTree[Array],
    changes: PyTree[Array],
    kept: Int[Array, ""],
    free: PyTree[Bool[Array, "..."]] | None,
) -> tuple[PyTree[Array], Bool[Array, ""]]:
    """`H gradient` on the free unknowns, where `H` is the BFGS inverse from pairs of steps and gradient changes.

    With some unknowns held, the pairs are restricted to the others: the product of all of them with a gradient that is
    zero at the held ones would not descend.

    **Arguments:**

    - `gradient`: zero at the held unknowns.
    - `steps`, `changes`: like the gradient with one more leading axis, the newest pair last.
    - `kept`: how many pairs there are; the first of them are empty.
    - `free`: which unknowns move; all if `None`.

    **Returns:** the product, and whether any pair could be used (otherwise it is the gradient itself).

    Source: Nocedal, Wright, *Numerical Optimization* (2006), algorithm 7.4.
    """
    size = jtu.tree_leaves(steps)[0].shape[0]
    recent = jnp.arange(size) >= size - kept

    def curvature(pair: tuple[PyTree, PyTree, Bool[Array, ""]]) -> tuple[Scalar, Scalar, Bool[Array, ""]]:
        step, change, is_recent = pair
        change = only(free, change)
        along, squared = dot(only(free, step), change), dot(change, change)
        # Restricted to the free unknowns a pair may have lost its positive curvature.
        return along, squared, is_recent & (along > 1e-10 * squared) & (squared > 0)

    along, squared, usable = jax.lax.map(curvature, (steps, changes, recent))
    one = jnp.ones_like(along)
    inverse = jnp.where(usable, 1 / jnp.where(usable, along, one), 0)

    def backward(q: PyTree, pair: tuple) -> tuple[PyTree, Scalar]:
        step, change, weight = pair
        factor = weight * dot(step, q).astype(weight.dtype)
        return only(free, add_scaled(q, -factor, change)), factor

    def forward(r: PyTree, pair: tuple) -> tuple[PyTree, None]:
        step, change, weight, factor = pair
        difference = factor - weight * dot(change, r).astype(weight.dtype)
        return only(free, add_scaled(r, difference, step)), None

    q, factors = jax.lax.scan(backward, gradient, (steps, changes, inverse), reverse=True)
    any_usable = jnp.any(usable)
    newest = size - 1 - jnp.argmax(usable[::-1])
    initial = along[newest] / jnp.where(usable[newest], squared[newest], one[newest])
    q = scale(q, jnp.where(any_usable, initial, one[0]))
    r, _ = jax.lax.scan(forward, q, (steps, changes, inverse, factors))
    return r, any_usable
