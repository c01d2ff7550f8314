"""`A⁻¹ v`."""

import lineax as lx
from jaxtyping import ArrayLike, PyTree

from .._solution import Solution
from ._multiply import multiply
from ._scalar import Inverse


def inverse_multiply(
    operator: lx.AbstractLinearOperator,
    vector: PyTree[ArrayLike],
    *,
    rtol: float | None = None,
    max_dimension: int | None = None,
    throw: bool = True,
) -> Solution:
    r"""$A^{-1} v$ for a positive definite self-adjoint operator, to a tolerance.

    Conjugate gradients with full reorthogonalisation, as $\|v\|\, V_m T_m^{-1} e_1$ from the space of
    [`krylovpde.functions.sqrt_multiply`][]: the basis is stored, so that the tolerance is that of the *solution*: the
    residual over the smallest Ritz value, $\|v\|\, h\, |e_m^\top T_m^{-1} e_1| / \theta_1$. Where the condition number
    asks for more vectors than memory holds, take `lineax.linear_solve` with `lineax.CG`, whose tolerance is that of the
    residual.

    The derivative is $-A^{-1}\, \mathrm dA\, A^{-1} v$, with one vector–Jacobian product.

    **Arguments:**

    - `operator`: $A$, known to be self-adjoint in its weight, and positive definite.
    - `vector`: $v$, a pytree of arrays like the operator's input; its precision decides.
    - `rtol`: the error relative to the length of the result; `None` is 1e-6 in double and 1e-4 in single
        precision.
    - `max_dimension`: how many vectors may be stored; by default as many as fit into 256 MiB, between 32 and 256.
    - `throw`: raise if the tolerance was not met; otherwise look at `solution.result`, and gradients are NaN.

    **Returns:**

    A [`krylovpde.Solution`][] whose `value` is like `vector`.

    **Raises:**

    Those of [`krylovpde.functions.sqrt_multiply`][]; an eigenvalue that is not positive is a failed result.
    """
    return multiply("functions.inverse_multiply", Inverse(), operator, vector, rtol, max_dimension, throw)
