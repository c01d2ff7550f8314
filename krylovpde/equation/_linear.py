"""An equation made of an operator alone."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
from jaxtyping import Array, Inexact, PyTree

from ..grid import as_parameter, broadcasts_to
from ..operator import add_in_precision
from ..signal import AbstractSignal, AbstractSource
from ._base import AbstractEquation
from ._checks import check_operator


class Linear(AbstractEquation):
    r"""`u_t = A u + source` for any linear operator: lineax's, ours, a sparse matrix, a closure.

    !!! Example

        ```python
        equation = kp.Linear(kp.SparseOperator.from_scipy(matrix))
        ```
    """

    linear_operator: lx.AbstractLinearOperator
    source: PyTree[Any]

    def __init__(self, operator: lx.AbstractLinearOperator, source: Any = None):
        """A linear equation.

        **Arguments:**

        - `operator`: a square linear operator.
        - `source`: a constant: a pytree like the operator's output, of numbers or arrays that broadcast to its leaves,
            or one number for all; a [`krylovpde.Source`][] or `PointSource`; or a list of these (a state that is itself
            a list or tuple takes its constants bare). None if left out.

        **Raises:**

        `TypeError` for something that is not a lineax operator (a SciPy matrix belongs into
        `SparseOperator.from_scipy`), `ValueError` for one that is not square or a source that does not fit.
        """
        check_operator(operator, "Linear(operator)")
        self.linear_operator = operator
        structure = operator.out_structure()
        parts = [part if isinstance(part, AbstractSource) else _as_source(part, structure) for part in _parts(source)]
        self.source = tuple(parts) if len(parts) > 1 else (parts[0] if parts else None)

    def operator(self) -> lx.AbstractLinearOperator:
        """The operator."""
        return self.linear_operator

    def forcing(self) -> PyTree[Inexact[Array, "..."]] | None:
        """The source as a field."""
        constants = [part for part in _parts(self.source) if not isinstance(part, AbstractSource)]
        if not constants:
            return None
        constant = functools.reduce(add_in_precision, constants)
        structure = self.linear_operator.out_structure()
        return jtu.tree_map(lambda like, leaf: jnp.broadcast_to(leaf, like.shape), structure, constant)

    def driving(self) -> tuple[tuple[PyTree[Inexact[Array, "..."]], AbstractSignal], ...]:
        """The sources that vary in time."""
        structure = self.linear_operator.out_structure()
        varying = [part for part in _parts(self.source) if isinstance(part, AbstractSource)]
        return tuple((source.field(structure), source.signal) for source in varying)


def _parts(source: Any) -> list[Any]:
    """The terms of a source. A list or tuple is one of terms if something in it varies in time, else one state."""
    if isinstance(source, list | tuple) and any(part is None or isinstance(part, AbstractSource) for part in source):
        return [part for part in source if part is not None]
    return [] if source is None else [source]


def _as_source(source: Any, structure: PyTree[jax.ShapeDtypeStruct]) -> PyTree:
    if callable(source) and not isinstance(source, jax.Array):
        message = "`Linear(source=...)` is a function: say where it acts, `kp.Source(profile, function_of_time)`."
        raise TypeError(message)
    if jtu.tree_structure(source) != jtu.tree_structure(structure):
        if jnp.ndim(source) != 0:  # raises a TypeError for pytrees
            message = f"`Linear(source=...)` must be a pytree like the operator's output, {structure}."
            raise ValueError(message)
        source = jtu.tree_map(lambda _: source, structure)

    def checked(like: jax.ShapeDtypeStruct, leaf: Any) -> Array:
        array = as_parameter(leaf, "Linear(source)")
        if not broadcasts_to(array.shape, like.shape):
            message = f"`Linear(source=...)` must fit the operator's output of shape {like.shape}, got {array.shape}."
            raise ValueError(message)
        return array

    return jtu.tree_map(checked, structure, source)
