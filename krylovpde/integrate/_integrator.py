"""What an integrator of semilinear equations must answer."""

import abc
import functools
from typing import Any, TypeAlias

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
from jax import lax
from jaxtyping import Array, Int, PyTree, Real

from .._solution import RESULTS, first_failure
from ..action import AbstractMethod, Arnoldi, Problem, Settings
from ..adjoint import AbstractAdjoint, Report
from ..equation import AbstractEquation, rest_of
from ..grid import is_concrete
from ..krylov._space import common_dtype, norm, scale
from ..operator import ChainOperator, weight
from ._cuts import inside


class Step(eqx.Module):
    """One step: where it leads, an estimate of its error (a field), its cost, whether its linear parts succeeded."""

    state: PyTree[Array]
    error: PyTree[Array]
    applications: Int[Array, ""]
    dimension: Int[Array, ""]
    result: RESULTS


Cost: TypeAlias = tuple[Int[Array, ""], Int[Array, ""], RESULTS]


def no_cost() -> Cost:
    """Of no linear flow: applications, dimension, result."""
    zero = jnp.zeros((), jnp.int32)
    return zero, zero, RESULTS.successful


def with_report(cost: Cost, report: Report) -> Cost:
    """The cost of one more linear flow."""
    applications, dimension, result = cost
    return (
        applications + report.applications,
        jnp.maximum(dimension, report.dimension),
        first_failure([result, report.result]),
    )


class LinearFlow(eqx.Module):
    """How `Σ_k h^k φ_k(h A) v_k` is computed, and to which tolerance."""

    method: AbstractMethod
    adjoint: AbstractAdjoint
    rtol: float = eqx.field(static=True)
    throw: bool = eqx.field(static=True)

    def __call__(
        self, operator: lx.AbstractLinearOperator, vectors: tuple[PyTree[Array], ...], h: Array
    ) -> tuple[PyTree[Array], Report]:
        """`Σ_k h^k φ_k(h operator) vectors[k]`, and how it went."""
        if isinstance(self.method, Arnoldi) and len(vectors) > 1:
            return self._in_one_space(operator, vectors, h)
        return self._evaluate(operator, vectors, h)

    def _evaluate(
        self, operator: lx.AbstractLinearOperator, vectors: tuple[PyTree[Array], ...], h: Array
    ) -> tuple[PyTree[Array], Report]:
        settings = Settings(self.method, self.rtol, 0.0, self.method.max_steps)
        problem = Problem(operator, weight(operator), None, 1)
        outputs, report = self.adjoint.evaluate(settings, problem, vectors, h[None], self.throw)
        return jtu.tree_map(lambda leaf: leaf[0], outputs[0]), report

    def _in_one_space(
        self, operator: lx.AbstractLinearOperator, vectors: tuple[PyTree[Array], ...], h: Array
    ) -> tuple[PyTree[Array], Report]:
        """By one space for the field and its sources: here no symmetry is lost by that."""
        # Units in which the parts are of one size. The result does not depend on them, and they are no variables.
        unit = lax.stop_gradient(jnp.where(h == 0, 1.0, h))
        first, *rest = vectors
        inner_product = weight(operator)
        sources = [scale(unit**k, vector) for k, vector in enumerate(rest)]
        sizes = [norm(first, inner_product), *(jnp.abs(unit) * norm(source, inner_product) for source in sources)]
        size = lax.stop_gradient(functools.reduce(jnp.maximum, [one.astype(h.dtype) for one in sizes]))
        size = jnp.where(size > 0, size, 1.0)
        rows = jtu.tree_map(lambda *leaves: jnp.stack(leaves), *(scale(1.0 / size, source) for source in sources))
        chain = ChainOperator(operator, rows, 1.0 / unit)
        numbers = jnp.zeros(len(rest), common_dtype(first)).at[0].set(size.astype(common_dtype(first)))
        (value, _), report = self._evaluate(chain, ((first, numbers),), h)
        return value, report


class Flow(eqx.Module):
    """`u' = A u + g(t, u)`: the equation as an integrator sees it, and its linear flows.

    * `step`: the ends of a step to which times are confined, where the equation has jumps; see `inside`.
    """

    equation: AbstractEquation
    linear: LinearFlow
    step: tuple[Array, Array] | None = None

    def within(self, begin: Array, end: Array) -> "Flow":
        """The same in one step, at whose ends there may be jumps."""
        return Flow(self.equation, self.linear, (begin, end))

    def operator(self, t: Array) -> lx.AbstractLinearOperator:
        """The operator at time `t`."""
        operator = self.equation.operator_at(self._seen(t))
        return self.equation.operator() if operator is None else operator

    @property
    def is_driven(self) -> bool:
        """Whether a linear equation has anything but its operator."""
        return self.equation.forcing() is not None or bool(self.equation.driving())

    def rest(self, t: Array, u: PyTree[Array]) -> PyTree[Array]:
        """`g(t, u)`: everything but the operator."""
        return rest_of(self.equation, self._seen(t), u)

    def _seen(self, t: Array) -> Array:
        return t if self.step is None else inside(t, *self.step)

    def varying(self, t: Array, u: PyTree[Array]) -> PyTree[Array]:
        """The same without what is constant."""
        return rest_of(self.equation, self._seen(t), u, constant=False)


class AbstractIntegrator(eqx.Module):
    """A method for semilinear equations, in steps. See [`krylovpde.ETDRK4`][] and its neighbours."""

    # Of all integrators: how the linear flows are computed (None: by the operator), and a step size that is kept to.
    action: eqx.AbstractVar[AbstractMethod | None]
    step_size: eqx.AbstractVar[Real[Array, ""] | None]

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """The name that `stats.method` and messages use."""

    @property
    @abc.abstractmethod
    def error_order(self) -> int:
        """`p` of the estimate's size, `h^p`."""

    @property
    @abc.abstractmethod
    def extrapolates(self) -> bool:
        """Whether the estimate is that of a result of lower order than the one that is kept."""

    def flow_operator(self, equation: AbstractEquation, u: PyTree[Array]) -> lx.AbstractLinearOperator:
        """An operator of the kind whose flows are computed: the equation's, where nothing is linearised."""
        del u
        return equation.operator()

    def rate(self, flow: Flow, t: Array, u: PyTree[Array], end: Array) -> Array:
        """What the first step is guessed from: how fast the state would change by what is not exact, as a norm."""
        del end
        return norm(flow.rest(t, u), weight(flow.equation.operator()))

    @abc.abstractmethod
    def step(self, flow: Flow, t: Array, u: PyTree[Array], h: Array) -> Step:
        """From `t` to `t + h`."""


def as_step_size(step_size: Any, where: str) -> Real[Array, ""] | None:
    """A fixed step as a number that new values do not compile again."""
    if step_size is None:
        return None
    array = jnp.asarray(step_size, jnp.result_type(float))
    if array.ndim or (is_concrete(array) and not float(array) > 0):
        message = f"`{where}(step_size)` must be a positive number or None, got {step_size}."
        raise ValueError(message)
    return array
