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


def check_terms(terms: Any, solver: str) -> None:
    """Raises for terms of which the first is not linear: `ValueError`, with what to do."""
    inside = unwrapped(terms)
    if isinstance(inside, diffrax.MultiTerm) and inside is not terms:
        message = (
            f"`{solver}` cannot solve the backward system of `diffrax.BacksolveAdjoint`, which is one nonlinear term, "
            "and for a diffusion runs the state backwards in time, where it explodes. Use "
            "`adjoint=RecursiveCheckpointAdjoint()` (the default), `DirectAdjoint()` or `ForwardMode()`; or "
            "krylovpde.solve."
        )
        raise ValueError(message)
    parts = terms.terms if isinstance(terms, diffrax.MultiTerm) else ()
    if len(parts) != 2 or not isinstance(unwrapped(parts[0]), LinearTerm):
        found = ", ".join(type(unwrapped(part)).__name__ for part in parts)
        message = (
            f"`{solver}` takes `terms=MultiTerm(LinearTerm(operator), ODETerm(rest))`, which `split(equation)` makes "
            f"of an equation; got {f'MultiTerm({found})' if parts else type(inside).__name__}."
        )
        raise ValueError(message)


def unwrapped(term: Any) -> Any:
    """The term inside of what Diffrax wraps around it: the direction of time, an adjoint."""
    while not isinstance(term, LinearTerm | diffrax.MultiTerm) and hasattr(term, "term"):
        term = term.term
    return term


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
