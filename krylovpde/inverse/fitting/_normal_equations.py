"""The linear problem of a Gauss–Newton step, without a matrix: products with J and Jᵀ, and conjugate gradients."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
from jaxtyping import Array, Bool, Float, Int, PyTree, Scalar

from ._tree import dot, euclidean_norm, only, scale

# The least damping that the scaling of the equations below counts with.
_LEAST_DAMPING = 1e-12


class Linearised(NamedTuple):
    """A residual at a point, and its derivative in unknowns `y` with `parameters = y / root` leaf by leaf.

    - `forward(y)`: `J (y / root)`, a list of real arrays.
    - `transposed(w)`: `(Jᵀ w) / root`, like `y`: in the widest real precision of the unknowns.
    """

    residual: list[Array]
    forward: Callable[[PyTree[Array]], list[Array]]
    transposed: Callable[[list[Array]], PyTree[Array]]


def linearise(residual: Callable[[PyTree], PyTree], parameters: PyTree[Array]) -> Linearised:
    """One evaluation of the residual with all that products with its Jacobian need; `root` is 1."""

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
    """The same in unknowns `y = root * parameters`, all of one precision."""
    widest = jnp.result_type(*[leaf.dtype for leaf in jtu.tree_leaves(parameters)])

    def forward(scaled: PyTree[Array]) -> list[Array]:
        return linearised.forward(jtu.tree_map(lambda y, r, p: (y / r).astype(p.dtype), scaled, root, parameters))

    def transposed(cotangent: list[Array]) -> PyTree[Array]:
        return jtu.tree_map(lambda g, r: g.astype(widest) / r, linearised.transposed(cotangent), root)

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


class DampedStep(NamedTuple):
    """A solution, the CG steps it took, and whether it is finite."""

    step: PyTree[Array]
    num_steps: Int[Array, ""]
    successful: Bool[Array, ""]


def damped_step(
    linearised: Linearised,
    gradient: PyTree[Float[Array, "..."]],
    damping: Scalar,
    forcing: Scalar,
    free: PyTree[Bool[Array, "..."]] | None,
    preconditioner: Callable[[PyTree], PyTree] | None,
    max_steps: int,
) -> DampedStep:
    """`(JᵀJ + damping) step = -gradient` on the free unknowns, to a residual of `forcing |gradient|`.

    The others do not move. An iteration that is cut off is a good step too: every iterate of conjugate gradients lowers
    the quadratic model further, and the first ones lie along the directions that the data see best.
    """
    gradient = only(free, gradient)
    size = euclidean_norm(gradient)
    size = jnp.where(size > 0, size, jnp.ones_like(size))
    # lineax stops where the last *change of the solution*, too, is below the tolerance of the residual, which compares
    # different units. In the equations multiplied by `sharpness` that change is always small enough, since the least
    # eigenvalue is the damping; and with the right-hand side in units of its tolerance, the tolerance is 1.
    sharpness = 1 / (forcing * jnp.maximum(damping, _LEAST_DAMPING))
    unit = forcing * size

    def apply(step: PyTree[Array]) -> PyTree[Array]:
        curved = only(free, linearised.transposed(linearised.forward(only(free, step))))
        return jtu.tree_map(lambda c, s: sharpness * (c + damping * s), curved, step)

    structure = jax.eval_shape(lambda: gradient)
    operator = lx.FunctionLinearOperator(apply, structure, lx.positive_semidefinite_tag)
    options = {}
    if preconditioner is not None:
        precondition = lx.FunctionLinearOperator(
            lambda residual: only(free, preconditioner(only(free, residual))), structure, lx.positive_semidefinite_tag
        )
        options["preconditioner"] = precondition
    solver = lx.CG(rtol=0.0, atol=1.0, norm=euclidean_norm, stabilise_every=None, max_steps=max_steps)
    solution = lx.linear_solve(operator, scale(gradient, -1 / unit), solver, options=options, throw=False)
    step = scale(solution.value, sharpness * unit)
    finite = [jnp.all(jnp.isfinite(leaf)) for leaf in jtu.tree_leaves(step)]
    return DampedStep(step, jnp.asarray(solution.stats["num_steps"]), jnp.all(jnp.stack(finite)))


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
