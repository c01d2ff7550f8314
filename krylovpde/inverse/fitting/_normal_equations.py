"""The linear problem of a Gauss–Newton step, without a matrix: conjugate gradients for damped least squares."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Bool, Int, PyTree, Scalar

from ..loss import half_sum_of_squares
from ._bounds import Bounds
from ._tree import add_scaled, dot, only, select


class Linearised(NamedTuple):
    """A residual at a point as a list of real arrays, and its derivative.

    - `forward(y)`: `J y`.
    - `transposed(w)`: `Jᵀ w`.
    """

    residual: list[Array]
    forward: Callable[[PyTree[Array]], list[Array]]
    transposed: Callable[[list[Array]], PyTree[Array]]


def linearise(residual: Callable[[PyTree], PyTree], parameters: PyTree[Array]) -> Linearised:
    """One evaluation of the residual with all that products with its Jacobian need."""

    def as_real(unknowns: PyTree[Array]) -> list[Array]:
        return real_parts(residual(unknowns))

    value, forward = jax.linearize(as_real, parameters)
    transposed = jax.linear_transpose(forward, parameters)
    return Linearised(value, forward, lambda cotangent: transposed(cotangent)[0])


def real_parts(residual: PyTree[Array]) -> list[Array]:
    """The residual as a list of real arrays with the same sum of squares."""
    parts = []
    for leaf in jtu.tree_leaves(residual):
        parts += [jnp.real(leaf), jnp.imag(leaf)] if jnp.iscomplexobj(leaf) else [leaf]
    return parts


def in_units(linearised: Linearised, parameters: PyTree[Array], root: PyTree[Scalar]) -> Linearised:
    """The same in unknowns `y = root * parameters`, leaf by leaf, all in the precision of `root`."""

    def forward(scaled: PyTree[Array]) -> list[Array]:
        return linearised.forward(jtu.tree_map(lambda y, r, p: (y / r).astype(p.dtype), scaled, root, parameters))

    def transposed(cotangent: list[Array]) -> PyTree[Array]:
        return jtu.tree_map(lambda g, r: g.astype(r.dtype) / r, linearised.transposed(cotangent), root)

    return Linearised(linearised.residual, forward, transposed)


def leaf_curvatures(linearised: Linearised, gradient: PyTree[Array]) -> PyTree[Scalar]:
    """`|J g|² / |g|²` with the gradient `g` of one leaf at a time: how sharply the loss curves along each leaf.

    Exact for a single number; for a field it is close to the largest curvature, and does not depend on the mesh. A leaf
    without a gradient is asked along ones instead. Costs one product with J for each leaf.
    """
    leaves, structure = jtu.tree_flatten(gradient)
    widest = jnp.result_type(*[leaf.dtype for leaf in leaves])

    def normalised(leaf: Array) -> Array:
        leaf = jnp.where(jnp.any(leaf != 0), leaf, jnp.ones_like(leaf))
        return leaf / jnp.sqrt(jnp.sum(leaf**2))

    def probe(index: Int[Array, ""]) -> Scalar:
        parts = [jnp.where(index == i, normalised(leaf), jnp.zeros_like(leaf)) for i, leaf in enumerate(leaves)]
        image = linearised.forward(structure.unflatten(parts))
        return dot(image, image).astype(widest)

    # One at a time: the product is compiled once, and needs no more memory than any other.
    curvatures = jax.lax.map(probe, jnp.arange(len(leaves)))
    return structure.unflatten(list(curvatures))


class DampedProblem(NamedTuple):
    """`min ½ |r + J step|² + ½ damping |step|²` over the free unknowns, to a relative gradient of `forcing`."""

    damping: Scalar
    forcing: Scalar
    max_steps: Int[Array, ""]
    preconditioner: Callable[[PyTree], PyTree] | None


class Krylov(NamedTuple):
    """Where conjugate gradients stand after `taken` steps; `gradient` and `free` are those at the point itself.

    `squared` is the squared norm of the model's gradient, in the preconditioner's product where there is one: a Riesz
    map then measures it as the field's norm does, on any mesh. `descent` is how fast the model falls along `direction`,
    the same number in exact arithmetic.
    """

    step: PyTree
    model_residual: list[Array]
    direction: PyTree
    squared: Scalar
    descent: Scalar
    first_squared: Scalar
    gradient: PyTree
    free: PyTree
    taken: Int[Array, ""]


def solve_damped(linearised: Linearised, parameters: PyTree[Array], bounds: Bounds, problem: DampedProblem) -> Krylov:
    """The gradient at a point, and (with `max_steps > 0`) the damped step from there; held unknowns do not move.

    An iteration that is cut off is a good step too: every iterate lowers the quadratic model further, and the first
    ones lie along the directions that the data see best. For each of them `<step, gradient of the model> = 0`, by which
    the decrease of the model is known without another product: `½ (damping |step|² - <gradient, step>)`.

    Conjugate gradients in the form for least squares (CGLS), which keeps the model's residual `r + J step`: its
    recurrences do not square the condition of J, and the gradient comes out of the same loop. So the products with J
    and Jᵀ stand in the program once, while `lineax.CG` on JᵀJ applies its operator in two places and the gradient would
    be a third. Compiling the derivatives of a PDE is most of the time of a short fit.

    Source: Björck, *Numerical Methods for Least Squares Problems* (1996), §7.4.
    """
    zeros = jtu.tree_map(jnp.zeros_like, jax.eval_shape(linearised.transposed, linearised.residual))
    nothing = jtu.tree_map(jnp.zeros_like, linearised.residual)

    def advance(before: Krylov) -> Krylov:
        is_first = before.taken < 0
        image = jax.lax.cond(is_first, lambda _: nothing, linearised.forward, before.direction)
        curvature = dot(image, image).astype(before.squared.dtype)
        curvature += problem.damping * dot(before.direction, before.direction)
        # Not `squared / curvature`: where rounding and the tolerance of a solve are all that is left, directions cancel
        # and that step would be as long as they are short.
        length = jnp.where(curvature > 0, before.descent / jnp.where(curvature > 0, curvature, 1), 0)
        step = add_scaled(before.step, length, before.direction)
        model_residual = add_scaled(before.model_residual, length, image)
        slope = add_scaled(linearised.transposed(model_residual), problem.damping, step)
        gradient = select(is_first, slope, before.gradient)
        free = bounds.free(parameters, slope)
        free = None if free is None else select(is_first, free, before.free)
        slope = only(free, slope)
        towards = slope if problem.preconditioner is None else only(free, problem.preconditioner(slope))
        squared = dot(slope, towards).astype(before.squared.dtype)
        kept = jnp.where(is_first, 0, squared / jnp.where(before.squared > 0, before.squared, 1))
        direction = jtu.tree_map(lambda d, z: kept * d - z, before.direction, towards)
        descent = -dot(slope, direction).astype(before.squared.dtype)
        first = jnp.where(is_first, squared, before.first_squared)
        return Krylov(step, model_residual, direction, squared, descent, first, gradient, free, before.taken + 1)

    def go_on(now: Krylov) -> Bool[Array, ""]:
        # A NaN ends the solve, and so does what a preconditioner that is not positive definite makes.
        unfinished = (now.squared > problem.forcing**2 * now.first_squared) & (now.squared > 0) & (now.descent > 0)
        return (now.taken < 0) | (unfinished & (now.taken < problem.max_steps))

    free = bounds.free(parameters, zeros)
    one = jnp.ones_like(problem.damping)
    start = Krylov(zeros, linearised.residual, zeros, 0 * one, 0 * one, one, zeros, free, jnp.asarray(-1))
    return jax.lax.while_loop(go_on, advance, start)


def value_of_residual(linearised: Linearised) -> Scalar:
    """`½ Σ r²`."""
    return half_sum_of_squares(linearised.residual)


def forcing_term(norm: Scalar, previous_norm: Scalar, previous: Scalar, most: float) -> Scalar:
    """How exactly to solve, from how much the gradient fell: Eisenstat and Walker's second choice, safeguarded.

    Source: Eisenstat, Walker, "Choosing the forcing terms in an inexact Newton method", SIAM J. Sci. Comput. 17 (1996).
    """
    exponent, factor = (1 + 5**0.5) / 2, 0.9
    chosen = factor * (norm / previous_norm) ** exponent
    kept = factor * previous**exponent
    chosen = jnp.where(kept > 0.1, jnp.maximum(chosen, kept), chosen)
    return jnp.clip(chosen, 1e-3 * most, most).astype(norm.dtype)


def is_small(parameters: PyTree[Array], limit: int = 32) -> bool:
    """Whether there are so few unknowns that conjugate gradients end by themselves."""
    return sum(leaf.size for leaf in jtu.tree_leaves(eqx.filter(parameters, eqx.is_array))) <= limit
