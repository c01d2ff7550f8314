"""The linear part of an equation as a Diffrax term."""

from typing import Any

import diffrax
import lineax as lx
from jaxtyping import Array, PyTree

from ..equation import AbstractEquation, rest_of
from ..krylov._space import scale


class LinearTerm(diffrax.AbstractTerm):
    r"""`A y dt` with a linear operator: the first part of the `MultiTerm` that this package's solvers take.

    Derivatives reach the operator's parameters, as they do with any term.
    """

    operator: lx.AbstractLinearOperator

    def __init__(self, operator: lx.AbstractLinearOperator):
        """A linear term.

        **Arguments:**

        - `operator`: any square lineax operator on the state. Its tags, weight and spectral bound decide how its
            exponentials are computed, as in [`krylovpde.expm_multiply`][].

        **Raises:**

        `TypeError` for anything else.
        """
        if not isinstance(operator, lx.AbstractLinearOperator):
            message = f"`LinearTerm(operator)` takes a lineax.AbstractLinearOperator, got {type(operator)}."
            raise TypeError(message)
        self.operator = operator

    def vf(self, t: Any, y: Any, args: Any) -> Any:
        """`A y`."""
        del t, args
        return self.operator.mv(y)

    def contr(self, t0: Any, t1: Any, **kwargs: Any) -> Any:
        """`t1 - t0`."""
        del kwargs
        return t1 - t0

    def prod(self, vf: Any, control: Any) -> Any:
        """`A y dt`."""
        return scale(control, vf)


def split(equation: AbstractEquation) -> diffrax.MultiTerm:
    """An equation of first order in time as `MultiTerm(LinearTerm(A), ODETerm(rest))`.

    **Raises:** `ValueError` for an equation of second order.
    """
    if equation.order != 1:
        message = f"`split` takes an equation of first order in time; {type(equation).__name__} is of second order."
        raise ValueError(message)

    def rest(t: Any, y: PyTree[Array], args: Any) -> PyTree[Array]:
        del args
        return rest_of(equation, t, y)

    return diffrax.MultiTerm(LinearTerm(equation.operator()), diffrax.ODETerm(rest))
