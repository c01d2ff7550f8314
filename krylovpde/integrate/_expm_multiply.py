"""`exp(tA) v`, and linear combinations of φ-functions."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import lineax as lx
from jaxtyping import Array, ArrayLike, PyTree

from .._solution import Solution
from ..action import AbstractMethod
from ..adjoint import AbstractAdjoint
from ._entrance import as_field, as_times, check_square, choose, common_state, real_dtype, tolerances
from ._run import Options, finish, max_steps_of, run


def expm_multiply(
    operator: lx.AbstractLinearOperator,
    vector: PyTree[ArrayLike],
    t: Any,
    *,
    method: AbstractMethod | None = None,
    adjoint: AbstractAdjoint | None = None,
    rtol: float | None = None,
    atol: float = 0.0,
    max_steps: int | None = None,
    throw: bool = True,
) -> Solution:
    r"""$e^{tA} v$ to a tolerance, for one duration or many, differentiable in everything.

    **Arguments:**

    - `operator`: $A$, any square `lineax.AbstractLinearOperator`, real or complex. Self-adjoint and skew-adjoint
        operators (`krylovpde.is_self_adjoint`) are served by a three-term recurrence.
    - `vector`: $v$, a pytree of arrays like the operator's input. Its precision is that of the computation.
    - `t`: a number or a 1-D array of durations, of any sign and order, repeats allowed.
    - `method`: `Lanczos()`, `Arnoldi()` or `Dense()`; `None` chooses by the operator's tags.
    - `adjoint`: how to differentiate; `None` is `TwoSidedAdjoint()` (`DirectAdjoint()` for `Dense()`
        and `Contour()`).
    - `rtol`, `atol`: the error is at most `atol + rtol · max(‖result‖, ‖v‖)` in the operator's norm, at every time.
        `None` is 1e-6 in double and 1e-4 in single precision. The gradient obeys the same number, relative to its norm
        plus its natural scale `‖cotangent‖ ‖dA‖ ‖u‖ t`.
    - `max_steps`: bound on the sub-steps; `None` is the method's own (64 for Lanczos, 256 for Arnoldi).
    - `throw`: raise if the tolerance was not met. Otherwise look at `solution.result`; times that were not reached are
        NaN, and so are gradients of a backward pass that failed.

    **Returns:**

    A [`krylovpde.Solution`][] whose `value` is like `vector`, with a new leading axis for an array of durations.

    **Raises:**

    `TypeError` and `ValueError` for arguments that do not fit; `equinox.EquinoxRuntimeError` for a failed result.

    !!! cite "Sources"

        Hochbruck and Lubich, *On Krylov subspace approximations to the matrix exponential operator* (1997) for the
        method and its error estimate.
    """
    return phi_multiply(
        operator,
        (vector,),
        t,
        method=method,
        adjoint=adjoint,
        rtol=rtol,
        atol=atol,
        max_steps=max_steps,
        throw=throw,
    )


def phi_multiply(
    operator: lx.AbstractLinearOperator,
    vectors: Sequence[PyTree[ArrayLike]],
    t: Any,
    *,
    method: AbstractMethod | None = None,
    adjoint: AbstractAdjoint | None = None,
    rtol: float | None = None,
    atol: float = 0.0,
    max_steps: int | None = None,
    throw: bool = True,
) -> Solution:
    r"""$\sum_k t^k \varphi_k(tA)\, v_k$, to a tolerance, differentiable in everything.

    It is the solution at $t$ of $u' = A u + \sum_{k \ge 1} v_k t^{k-1}/(k-1)!$, $u(0) = v_0$, where
    $\varphi_0 = \exp$ and $\varphi_k(z) = (\varphi_{k-1}(z) - 1/(k-1)!)/z$. Each vector has a Krylov space of its own,
    so a self-adjoint operator keeps its three-term recurrence.

    **Arguments:**

    - `vectors`: a sequence of pytrees like the operator's input, $v_0, v_1, \dots$

    Everything else as in [`krylovpde.expm_multiply`][].
    """
    if not isinstance(vectors, Sequence) or len(vectors) == 0:
        message = f"`vectors` must be a non-empty sequence of pytrees, got {type(vectors)}."
        raise ValueError(message)
    single = len(vectors) == 1
    check_square(operator, "expm_multiply" if single else "phi_multiply")
    names = ["vector"] if single else [f"vectors[{index}]" for index in range(len(vectors))]
    structure = operator.in_structure()
    fields = tuple(as_field(vector, structure, name) for vector, name in zip(vectors, names, strict=True))
    dtype = real_dtype(fields[0])
    times, scalar = as_times(t, dtype, "t")
    rtol, atol = tolerances(rtol, atol, dtype)
    method, adjoint = choose(operator, 1, method, adjoint)
    options = Options(method, adjoint, rtol, atol, max_steps_of(method, max_steps), throw)
    outputs, result, stats = _compiled(options, operator, fields, times)
    return finish(outputs[0], result, stats, times, scalar, throw)


@eqx.filter_jit
def _compiled(options: Options, operator: lx.AbstractLinearOperator, fields: tuple[PyTree[Array], ...], times: Array):
    return run(options, operator, 1, None, common_state(operator, fields), times)
