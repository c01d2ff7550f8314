"""Whether the optimiser can reach anything in the iterations that it has."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, PyTree

from ..parameter import AbstractParameter, value_of
from ._finding import Finding

_LEAST_CHANGE = 0.01  # of the root mean square: less is no inversion
_SUGGESTED_CHANGE = 0.3


def slow_parameters(model: PyTree, optimiser: Any, max_iterations: int, trainable: Any) -> list[Finding]:
    """A finding for each parameter that an optimiser with steps of its own size cannot move noticeably."""
    if isinstance(optimiser, type) or not (hasattr(optimiser, "init") and hasattr(optimiser, "update")):
        return []
    parameters = eqx.filter(eqx.filter(model, trainable), eqx.is_inexact_array)
    parameters = jtu.tree_map(lambda leaf: jnp.asarray(leaf, leaf.dtype), parameters)
    try:
        step, steps = _moves(optimiser, parameters, jnp.asarray(max_iterations))
    except TypeError:
        # It asks for the loss beside the gradient: it searches for its step, which has no size of its own.
        return []
    findings = []
    for (path, scale, one), (_, _, total) in zip(_changes(model, step), _changes(model, steps), strict=True):
        # What does not move is not judged: it is not free, or held by the optimiser, or moved as its gradient asks.
        if scale > 0 and 0 < total < _LEAST_CHANGE * scale:
            findings.append(Finding("rate", _message(path, scale, one, total, max_iterations), path))
    return findings


def _message(path: str, scale: float, step: float, total: float, max_iterations: int) -> str:
    factor = _SUGGESTED_CHANGE * scale / total
    return (
        f"rate: the steps of this optimiser do not grow with the gradient. They move {path}, of root mean square "
        f"{scale:.3g}, by at most {step:.2g} in an iteration and {total:.2g} in {max_iterations}, "
        f"{100 * total / scale:.1g} % of it: the fit would end where it starts. Use a learning rate {factor:.1g} times "
        "as large (for changes of 30 %), or an unknown of size 1, such as kp.inverse.Positive."
    )


@eqx.filter_jit
def _moves(optimiser: Any, parameters: PyTree, number: Array) -> tuple[PyTree, PyTree]:
    """The first step and the sum of all steps of a constant gradient; zero for leaves that a louder one moves further.

    One sign throughout: parametrisations that average would hide random ones.
    """
    gradient = jtu.tree_map(jnp.ones_like, parameters)
    start = _strong(optimiser.init(parameters))

    def step(gradient: PyTree, state: PyTree) -> tuple[PyTree, PyTree]:
        updates, state = optimiser.update(gradient, state, parameters)
        return jtu.tree_map(lambda u, p: u.astype(p.dtype), updates, parameters), _strong(state)

    def add(_: Array, carry: tuple[PyTree, PyTree]) -> tuple[PyTree, PyTree]:
        updates, state = step(gradient, carry[1])
        return jtu.tree_map(jnp.add, carry[0], updates), state

    first, _ = step(gradient, start)
    louder, _ = step(jtu.tree_map(lambda g: 1000 * g, gradient), start)
    zeros = jtu.tree_map(jnp.zeros_like, parameters)
    total, _ = jax.lax.fori_loop(0, number, add, (zeros, start))

    def of_its_own_size(move: Array, one: Array, other: Array) -> Array:
        same = jnp.all(jnp.abs(one - other) <= 1e-2 * jnp.abs(one))
        return jnp.where(same, move, jnp.zeros_like(move))

    own_first, own_total = (jtu.tree_map(of_its_own_size, move, first, louder) for move in (first, total))
    return own_first, own_total


def _strong(state: PyTree) -> PyTree:
    """Without weak types: a loop's state has one type from the first step on."""
    return jtu.tree_map(lambda leaf: jnp.asarray(leaf, leaf.dtype) if eqx.is_array(leaf) else leaf, state)


def _changes(model: PyTree, move: PyTree) -> list[tuple[str, float, float]]:
    """For each parameter its path, the root mean square of its value, and of the value's change along a move.

    By the derivative: in single precision a small step is lost in the sum.
    """
    arrays = eqx.filter(model, eqx.is_inexact_array)
    moves = _nodes(eqx.combine(move, jtu.tree_map(jnp.zeros_like, arrays)))
    nodes = dict(_nodes(model))
    changes = []
    for path, tangent in moves:
        own, rest = eqx.partition(nodes[path], eqx.is_inexact_array)
        own = jtu.tree_map(jnp.asarray, own)
        value, change = jax.jvp(lambda x, rest=rest: value_of(eqx.combine(x, rest)), (own,), (tangent,))
        changes.append((f"model{path}", _rms(value), _rms(change)))
    return changes


def _nodes(model: PyTree) -> list[tuple[str, Any]]:
    """Parametrisations, and the arrays outside of them, by path."""
    leaves = jtu.tree_leaves_with_path(model, is_leaf=lambda node: isinstance(node, AbstractParameter))
    return [(jtu.keystr(path), leaf) for path, leaf in leaves]


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(np.abs(np.asarray(values)) ** 2))) if np.size(values) else 0.0
