"""What every equation answers."""

import abc
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
from jax import lax
from jaxtyping import Array, Inexact, PyTree, Real

from ..operator import add_in_precision
from ..signal import AbstractSignal


class AbstractEquation(eqx.Module):
    r"""A linear or semilinear evolution equation, discretised in space; public to subclass.

        order 1:   u_t  = A u + b + nonlinear(t, u)          state: the field u;  or u_t = A(t) u + b
        order 2:   u_tt = A u + b                            state: WaveState(u, u_t)

    A subclass gives `operator()`; it may give `order`, `source`, `forcing()`, `nonlinear(t, u)`,
    `operator_at(t)`, and `quasilinear = True` where `nonlinear` holds what is stiff. Its fields are
    parameters: leaves of the pytree that derivatives reach, used in `operator()` and `forcing()` and nowhere before.

    !!! Example

        ```python
        class Decay(kp.AbstractEquation):
            rate: jax.Array

            def operator(self):
                return lx.DiagonalLinearOperator(-self.rate)
        ```
    """

    order: ClassVar[int] = 1
    # Whether `nonlinear` holds what is stiff: then an integrator that linearises it is the default.
    quasilinear: ClassVar[bool] = False
    # No annotation: a subclass may make it a field, with this default.
    source = None

    @abc.abstractmethod
    def operator(self) -> lx.AbstractLinearOperator:
        """The linear part `A`, on the field (not on a `WaveState`); where it varies in time, one of its kind."""

    def operator_at(self, t: Any) -> lx.AbstractLinearOperator | None:
        """The linear part at time `t` where it depends on time (then all of it); `None`, the default, where not.

        Operators of all times have the structure and the inner product of `operator()`.
        """
        del t

    def forcing(self) -> PyTree[Inexact[Array, "..."]] | None:
        """The constant part `b`: source and boundary values, as a field; `None` where there is none by construction."""
        return None

    def driving(self) -> tuple[tuple[PyTree[Inexact[Array, "..."]], AbstractSignal], ...]:
        """The sources that vary in time: profiles on the field, as they enter the right-hand side, and signals."""
        return ()

    def first_order_form(self) -> "AbstractFirstOrderForm | None":
        """This equation of second order as one of first order, where `u_tt = A u + b` is not all of it; else `None`."""

    @property
    def breakpoints(self) -> Real[Array, " breaks"]:
        """When something in the equation jumps or has a kink, not decreasing: steps end there, and see one side only.

        Those of the signals in `driving()`. For `diffrax.ClipStepSizeController(..., jump_ts=equation.breakpoints)`,
        too. An equation of your own that has others, in `operator_at(t)` or `nonlinear(t, u)`, adds them here.
        """
        return merge_breakpoints([signal.breakpoints for _, signal in self.driving()])

    def nonlinear(self, t: Any, u: PyTree) -> PyTree[Inexact[Array, "..."]] | None:
        """The rest of the right-hand side at time `t`; `None` for a linear equation."""
        del t, u

    def vector_field(self, t: Any, u: PyTree, args: Any = None) -> PyTree[Inexact[Array, "..."]]:
        """The time derivative of the state, for any ODE solver: `diffrax.ODETerm(equation.vector_field)`.

        **Arguments:**

        - `t`: the time.
        - `u`: the state.
        - `args`: ignored; part of Diffrax's signature.

        **Returns:**

        A pytree like `u`.
        """
        del args
        operator = self.operator_at(t)
        rate = (self.operator() if operator is None else operator).mv(u)
        for term in (self.forcing(), self.nonlinear(t, u), *driven_terms(self, t)):
            rate = rate if term is None else add_in_precision(rate, term)
        return rate


class AbstractFirstOrderForm(AbstractEquation):
    """An equation of first order that stands for one of second order, whose users keep their `WaveState`."""

    @abc.abstractmethod
    def extended(self, state: Any) -> PyTree[Array]:
        """The state of this equation that begins as a `WaveState`."""

    @abc.abstractmethod
    def seeing(self, operator: lx.AbstractLinearOperator | None) -> lx.AbstractLinearOperator:
        """An operator on the displacement as one on this equation's state; `None` for the whole `WaveState`."""


def merge_breakpoints(lists: list[Array]) -> Real[Array, " breaks"]:
    """All of them in one order, constants to every derivative."""
    dtype = jnp.result_type(float)
    return lax.stop_gradient(jnp.sort(jnp.concatenate([jnp.zeros(0, dtype), *(part.astype(dtype) for part in lists)])))


def rest_of(equation: AbstractEquation, t: Any, u: PyTree[Array], constant: bool = True) -> PyTree[Array]:
    """Everything but the operator, `forcing + nonlinear(t, u) + driven sources`, in the precision of `u`.

    `constant`: with the forcing.
    """
    total = jtu.tree_map(jnp.zeros_like, u)
    forcing = equation.forcing() if constant else None
    for term in (equation.nonlinear(t, u), forcing, *driven_terms(equation, t)):
        if term is not None:
            total = jtu.tree_map(lambda a, b: a + jnp.asarray(b).astype(a.dtype), total, term)
    return total


def driven_terms(equation: AbstractEquation, t: Any) -> list[PyTree[Inexact[Array, "..."]]]:
    """`f(x) w(t)` of every source that varies in time."""
    terms = []
    for profile, signal in equation.driving():
        value = signal(jnp.asarray(t, jnp.result_type(float)))
        terms.append(jtu.tree_map(lambda leaf, value=value: leaf * value.astype(leaf.real.dtype), profile))
    return terms
