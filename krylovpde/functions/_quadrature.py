r"""Quadratic forms `<z, f(A) z>` by Lanczos quadrature, and their derivatives in the operator's parameters.

The space of `z` has $\langle z, f(A) z\rangle \approx \|z\|^2\, e_1^\top f(T) e_1$, a Gauss quadrature, whose error is
about the square of that of `f(A) z`. Two derivatives:

* the form's own, `z* L_f(A, dA) z`, by the two-sided rule: the space is its own dual. The spaces are built once more
  on the way back, so that no more than one batch of them is in memory.
* `z* f'(A) dA z`, another random number of the same mean over `z`, because `tr L_f(A, dA) = tr f'(A) dA`: one
  vector–Jacobian product for each `z`, with `f'(A) z` from the space that is there anyway.
"""

import functools as ft

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax import lax
from jaxtyping import Array, Float, PyTree

from .._solution import RESULTS
from ..action._reduction import lift
from ..krylov._operand import apply, matching_weight
from ..krylov._space import add, conjugate, scale, weighted
from ._ritz import SpaceReport, SpaceSettings, admissible_values, evaluate, guarded_space, judged
from ._two_sided import checked, parameter_cotangents


class QuadratureSettings(eqx.Module):
    """What is static: `space.functions` holds `f`, and `f'` where the derivative is by that; `batch` starts at once."""

    space: SpaceSettings
    batch: int = eqx.field(static=True)

    @property
    def by_derivative(self) -> bool:
        """Whether the cotangents are `z* f'(A) dA z`."""
        return len(self.space.functions) > 1


@ft.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def quadratic_forms(
    settings: QuadratureSettings, rest: PyTree, parameters: PyTree, arrays: PyTree, starts: PyTree[Array]
) -> tuple[Float[Array, " count"], SpaceReport]:
    """The forms of all starts (stacked), and one report for each. Starts are constants."""
    forms, report, _ = _forward_pass(settings, rest, parameters, arrays, starts)
    return forms, report


def _forward_pass(settings, rest, parameters, arrays, starts):
    together = eqx.combine(parameters, arrays)

    def one(start: PyTree[Array]):
        operator = eqx.combine(together, rest)
        space = guarded_space(settings.space, rest, together, matching_weight(operator, start), start)
        function = settings.space.functions[0]
        values = function.value(admissible_values(function, space))
        form = space.norm**2 * jnp.sum(space.small.vectors[0] ** 2 * values)
        solved = None
        if settings.by_derivative:
            solved = lift(space, evaluate(settings.space.functions[1], space).coefficients)
        return form, judged(settings.space, space), solved

    return unfolded(lax.map(jax.vmap(one), folded(starts, settings.batch)))


def _forward(settings, rest, parameters, arrays, starts):
    forms, report, solved = _forward_pass(settings, rest, parameters, arrays, starts)
    return (forms, report), (parameters, arrays, starts, solved, report.result)


def _backward(settings, rest, saved, cotangents):
    parameters, arrays, starts, solved, results = saved
    pull = _pull_by_derivative if settings.by_derivative else _pull_two_sided

    def body(total, given):
        return add(total, pull(settings, rest, parameters, arrays, *given)), None

    zeros = jtu.tree_map(jnp.zeros_like, parameters)
    pulled, _ = lax.scan(body, zeros, folded((cotangents[0], starts, solved), settings.batch))
    return (*checked(settings.space.throw, worst(results), (pulled, None, None)),)


quadratic_forms.defvjp(_forward, _backward)


def worst(results: RESULTS) -> RESULTS:
    """One result for a stack of them: the first failure."""
    index = jnp.argmax(results != RESULTS.successful)
    return jtu.tree_map(lambda leaf: leaf[index], results)


def _pull_by_derivative(settings, rest, parameters, arrays, cotangents, starts, solved) -> PyTree:
    """`Σ_k c_k z_k* dA f'(A) z_k`."""
    del settings
    operator = eqx.combine(parameters, arrays, rest)
    weight = matching_weight(operator, jtu.tree_map(lambda leaf: leaf[0], starts))

    def images(values: PyTree) -> PyTree:
        return jax.vmap(ft.partial(apply, eqx.combine(values, arrays, rest)))(solved)

    left = jax.vmap(lambda c, z: scale(c, conjugate(weighted(z, weight))))(cotangents, starts)
    return jax.vjp(images, parameters)[1](left)[0]


def _pull_two_sided(settings, rest, parameters, arrays, cotangents, starts, solved) -> PyTree:
    """`Σ_k c_k z_k* L_f(A, dA) z_k`."""
    del solved
    together = eqx.combine(parameters, arrays)

    def one(cotangent: Float[Array, ""], start: PyTree[Array]) -> PyTree:
        operator = eqx.combine(together, rest)
        weight = matching_weight(operator, start)
        space = guarded_space(settings.space, rest, together, weight, start)
        pulled = parameter_cotangents(settings.space.functions[0], operator, weight, space, space)
        return scale(cotangent, pulled)

    return jtu.tree_map(lambda leaf: jnp.sum(leaf, axis=0), jax.vmap(one)(cotangents, starts))


def folded(rows: PyTree[Array], batch: int) -> PyTree[Array]:
    """Stacked vectors in batches."""
    return jtu.tree_map(lambda leaf: leaf.reshape(-1, batch, *leaf.shape[1:]), rows)


def unfolded(rows: PyTree[Array]) -> PyTree[Array]:
    """The batches in one row again."""
    return jtu.tree_map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), rows)
