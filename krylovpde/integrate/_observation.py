"""What a user gives and gets: initial states as fields, and what is kept of a solution."""

from typing import Any

import jax
import jax.tree_util as jtu
import lineax as lx
from jaxtyping import Array, PyTree

from ..equation import AbstractEquation, WaveState
from ..grid import AbstractGrid, only_active
from ._entrance import as_field


def as_fields(equation: AbstractEquation, initial: Any, operator: lx.AbstractLinearOperator):
    """The components of the state; zero in cells that are not active."""
    structure = operator.in_structure()
    if equation.order == 1:
        return _only_active(equation, (as_field(initial, structure, "initial"),))
    if not isinstance(initial, WaveState):
        message = (
            f"`initial` of {type(equation).__name__}, an equation of second order in time, must be a "
            f"krylovpde.WaveState(displacement, velocity), got {type(initial)}."
        )
        raise TypeError(message)
    parts = (initial.displacement, initial.velocity)
    fields = tuple(
        as_field(part, structure, f"initial.{name}")
        for part, name in zip(parts, ("displacement", "velocity"), strict=True)
    )
    return _only_active(equation, fields)


def _only_active(equation: AbstractEquation, fields: tuple[PyTree[Array], ...]) -> tuple[PyTree[Array], ...]:
    grid = getattr(equation, "grid", None)
    return only_active(grid, fields) if isinstance(grid, AbstractGrid) else fields


def as_observation(observe: Any, order: int, operator: lx.AbstractLinearOperator):
    """The linear observation of one component that the march can apply to its basis, if it is one."""
    if observe is None:
        return None, 0
    if not isinstance(observe, lx.AbstractLinearOperator):
        if callable(observe):
            return None, 0
        message = (
            "`observe` must be krylovpde.Sensors, a lineax operator or a function observe(t, state), got "
            f"{type(observe)}."
        )
        raise TypeError(message)
    seen, field = observe.in_structure(), operator.in_structure()
    if _same_shapes(seen, field):
        return observe, 0
    if order == 2 and _same_shapes(seen, WaveState(field, field)):
        return None, 0
    message = f"`observe` acts on {seen}, but the equation's field is {field}."
    raise ValueError(message)


def _same_shapes(first: PyTree, second: PyTree) -> bool:
    if jtu.tree_structure(first) != jtu.tree_structure(second):
        return False
    pairs = zip(jtu.tree_leaves(first), jtu.tree_leaves(second), strict=True)
    return all(a.shape == b.shape for a, b in pairs)


def observed(observe: Any, times: Array, states: PyTree[Array]) -> PyTree:
    """What is observed of the states at all times: by an operator on the state, or by a function of time and state."""
    # Outside of anything compiled here, so that whatever the function closes over keeps its gradient.
    if isinstance(observe, lx.AbstractLinearOperator):
        return jax.vmap(observe.mv)(states)
    return jax.vmap(observe)(times, states)
