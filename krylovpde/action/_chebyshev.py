"""Functions of operators with a known spectral interval, from Chebyshev's three-term recurrence."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import lineax as lx
import numpy as np

from ..operator import (
    FluxOperator,
    ImaginaryOperator,
    imaginary_interval,
    is_self_adjoint,
    is_skew_adjoint,
    spectral_bound,
    spectral_interval,
)
from ._base import AbstractMethod
from ._spectrum import like_of

_TABLE_ENTRIES = 2**20
_LENGTHS = (2048, 16384)


class Chebyshev(AbstractMethod):
    r"""Chebyshev's polynomials, for operators that are self-adjoint or skew-adjoint with a known spectral bound.

    $f(tA) v \approx \sum_k c_k(t)\, T_k(Z) v$ with $Z = (2A - (a + b) I) / (b - a)$ and the spectrum of $A$ in
    $[a, b]$. No inner products and three vectors, whatever the duration: one recurrence serves all output times, and
    the polynomial is as accurate for rough data as for smooth ones. The degree follows from the decay of the
    coefficients, $\sqrt{2 t\rho \ln(1/\varepsilon)}$ for diffusion and $R/2 + O(R^{1/3})$, $R = t\sqrt\rho$, for
    waves (Tal-Ezer, Kosloff 1984; Tal-Ezer 1986). The leapfrog scheme is this recurrence at its stability limit.

    The bound must not be too small: then the recurrence grows without limit, which is noticed and told as
    `RESULTS.bound_violated`. Stencil and sparse operators know theirs; others are told by
    `krylovpde.annotate(operator, spectral_bound=...)`.

    **Arguments:**

    - `max_degree`: the length of the tables of coefficients. A duration that needs more is a failed result. By default
        16384, fewer with very many output times (at least 2048): the tables take at most a million numbers.

    Adjoint: `ReversibleAdjoint`.
    """

    max_degree: int | None = eqx.field(default=None, static=True)

    def __check_init__(self):
        if self.max_degree is not None and self.max_degree < 8:
            message = f"`max_degree` must be at least 8, but is {self.max_degree}."
            raise ValueError(message)

    @property
    def name(self) -> str:
        return "Chebyshev"

    @property
    def max_steps(self) -> int:
        return 1

    def length(self, num_rows: int) -> int:
        """The length of a table of coefficients with so many rows."""
        if self.max_degree is not None:
            return self.max_degree
        return int(np.clip(2 ** int(np.log2(_TABLE_ENTRIES / num_rows)), *_LENGTHS))

    def check(self, operator: lx.AbstractLinearOperator) -> None:
        model = like_of(operator)
        if not (is_self_adjoint(model) or is_skew_adjoint(model)):
            message = (
                "`method=Chebyshev()` needs an operator that is tagged self-adjoint or skew-adjoint in its weight, and "
                f"{type(model).__name__} is not. Say so with `krylovpde.annotate(operator, "
                "tags=krylovpde.self_adjoint_tag, weight=...)` if it is, or use `krylovpde.Arnoldi()`."
            )
            raise ValueError(message)
        if not has_known_spectrum(model):
            message = (
                f"`method=Chebyshev()` needs a bound of the spectrum, and none is known for {type(model).__name__}. "
                "Tell one with `krylovpde.annotate(operator, spectral_bound=...)`, or use `krylovpde.Lanczos()`."
            )
            raise ValueError(message)


def has_known_spectrum(operator: lx.AbstractLinearOperator) -> bool:
    """Whether an interval or a bound is known; decided without computing it."""
    if isinstance(operator, ImaginaryOperator):
        return has_known_spectrum(operator.operator)
    if isinstance(operator, FluxOperator):
        # Each call of `solve` asks, and tracing the bound takes tens of milliseconds.
        return True
    return _is_known(spectral_interval, operator) or _is_known(spectral_bound, operator)


def has_known_imaginary_interval(operator: lx.AbstractLinearOperator) -> bool:
    """Whether it is known where on the imaginary axis the spectrum of a skew-adjoint operator lies."""
    if isinstance(operator, ImaginaryOperator) and isinstance(operator.operator, FluxOperator):
        return True
    return _is_known(imaginary_interval, operator)


def _is_known(fact: Callable[[lx.AbstractLinearOperator], Any], operator: lx.AbstractLinearOperator) -> bool:
    dynamic, static = eqx.partition(operator, eqx.is_array)
    return jax.eval_shape(lambda dynamic: fact(eqx.combine(dynamic, static)), dynamic) is not None
