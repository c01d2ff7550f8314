"""Functions of operators whose numerical range lies in a known ellipse, from Faber's three-term recurrence."""

import equinox as eqx
import jax
import lineax as lx

from ..operator import AbsorbedWaveOperator, FluxOperator, is_real_structure, numerical_range
from ._base import AbstractMethod
from ._spectrum import like_of


class Faber(AbstractMethod):
    r"""Faber's polynomials on an ellipse, for advection and diffusion, damped and absorbed waves.

    For equations of first order in time; `kp.solve` puts waves with damping or absorbing layers into that form.
    $f(tA) v \approx \sum_k c_k(t)\, F_k(A) v$, where $A$ has its numerical range in an ellipse with the centre $x_0$
    and the semi-axes $a = a_1 + a_2$, $b = a_1 - a_2$, and

    $$a_1 F_{k+1} = (A - x_0) F_k - a_2 F_{k-1}.$$

    No inner products and three vectors, whatever the duration; one recurrence serves all output times, and one any
    signal of a source; the polynomial is as accurate for rough data as for smooth ones. A flat ellipse, $b = 0$, is
    Chebyshev's method. For advection and diffusion at moderate Péclet numbers the degree is about
    $tb + \sqrt{2ta\ln(1/\varepsilon)}$: the first part counts the cells that the flow crosses, along all axes. A Krylov
    space needs fewer applications where data are smooth, but its inner products cost far more than they do.

    The stencils of this package know their ellipse (`krylovpde.operator.numerical_range`). Absorbed waves know a
    rectangle, around which the ellipse is the higher the longer the duration: see the page on numerics. One that is
    too small is noticed by the recurrence's growth, and told as `RESULTS.bound_violated`.

    **Arguments:**

    - `max_degree`: the length of the tables of coefficients; a duration that needs more is a failed result. A gradient
        keeps $6\,(\text{max\_degree}/2)^{1/3}$ fields, 126 for the default.

    Adjoint: `CheckpointedAdjoint`.

    !!! cite "Sources"

        Beckermann, *Image numérique, GMRES et polynômes de Faber* (2005) for $\|F_k(A)\| \le 2$. Moret, Novati, *The
        computation of functions of matrices by truncated Faber series* (2001).
    """

    max_degree: int = eqx.field(default=16384, static=True)

    def __check_init__(self):
        if self.max_degree < 8:
            message = f"`max_degree` must be at least 8, but is {self.max_degree}."
            raise ValueError(message)

    @property
    def name(self) -> str:
        return "Faber"

    @property
    def max_steps(self) -> int:
        return 1

    def check(self, operator: lx.AbstractLinearOperator) -> None:
        model = like_of(operator)
        if not has_known_range(model):
            message = (
                "`method=Faber()` needs an ellipse around the numerical range of a real operator, and none is known "
                f"for {type(model).__name__}. It is for stencils with transport, absorbed waves, self- and "
                "skew-adjoint operators; use `krylovpde.Arnoldi()`."
            )
            raise ValueError(message)


def has_known_range(operator: lx.AbstractLinearOperator) -> bool:
    """Whether an ellipse is known; decided without computing it."""
    if isinstance(operator, AbsorbedWaveOperator):
        return is_real_structure(operator.in_structure())
    if isinstance(operator, FluxOperator) and operator.has_transport:
        # Each call of `solve` asks; tracing the ellipse would take a tenth of a second.
        return is_real_structure(operator.in_structure())
    dynamic, static = eqx.partition(operator, eqx.is_array)
    ellipse = jax.eval_shape(lambda dynamic: numerical_range(eqx.combine(dynamic, static)), dynamic)
    return ellipse is not None
