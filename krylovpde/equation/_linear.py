"""An equation made of an operator alone."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
from jaxtyping import Array, Inexact, PyTree

from ..grid import as_parameter, broadcasts_to
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
            or one number for all; none if left out.

        **Raises:**

        `TypeError` for something that is not a lineax operator (a SciPy matrix belongs into
        `SparseOperator.from_scipy`), `ValueError` for one that is not square or a source that does not fit.
        """
        check_operator(operator, "Linear(operator)")
        self.linear_operator = operator
        self.source = None if source is None else _as_source(source, operator.out_structure())

    def operator(self) -> lx.AbstractLinearOperator:
        """The operator."""
        return self.linear_operator

    def forcing(self) -> PyTree[Inexact[Array, "..."]] | None:
        """The source as a field."""
        if self.source is None:
            return None
        structure = self.linear_operator.out_structure()
        return jtu.tree_map(lambda like, leaf: jnp.broadcast_to(leaf, like.shape), structure, self.source)


def _as_source(source: Any, structure: PyTree[jax.ShapeDtypeStruct]) -> PyTree:
    if callable(source) and not isinstance(source, jax.Array):
        message = "`Linear(source=...)` is a function: sources that vary in time come later. Give a constant."
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
