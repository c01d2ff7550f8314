"""What is solved, and what is static about solving it."""

import equinox as eqx
import lineax as lx

from .._custom_types import Weight
from ._base import AbstractKrylov, AbstractMethod


class Observation(eqx.Module):
    """A linear map of one component of the state: what is kept of a solution instead of the state."""

    operator: lx.AbstractLinearOperator
    component: int = eqx.field(static=True)


class Problem(eqx.Module):
    """`dᵠu/dtᵠ = A u + sources` with `order` q, in the inner product of `weight`."""

    operator: lx.AbstractLinearOperator
    weight: Weight
    observation: Observation | None
    order: int = eqx.field(static=True)


class Settings(eqx.Module):
    """What is static about a march."""

    method: AbstractMethod
    rtol: float = eqx.field(static=True)
    atol: float = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)

    @property
    def krylov(self) -> AbstractKrylov:
        """The method, where one with Krylov spaces is needed: `Dense` never marches."""
        assert isinstance(self.method, AbstractKrylov)
        return self.method
