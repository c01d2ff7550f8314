"""`log(A) v`."""

import lineax as lx
from jaxtyping import ArrayLike, PyTree

from .._solution import Solution
from ._multiply import multiply
from ._scalar import Logarithm


def log_multiply(
    operator: lx.AbstractLinearOperator,
    vector: PyTree[ArrayLike],
    *,
    rtol: float | None = None,
    max_dimension: int | None = None,
    throw: bool = True,
) -> Solution:
    r"""$\log(A)\, v$ for a positive definite self-adjoint operator, to a tolerance.

    By the space, and with the derivatives, of [`krylovpde.functions.sqrt_multiply`][]. From
    $\log x = \int_0^\infty \left(\frac{1}{1+s} - \frac{1}{x+s}\right) \mathrm ds$, the error is at most
    $\|v\|\, h\, |e_m^\top f[T_m, \lambda_1]\, e_1|$ with the smallest eigenvalue $\lambda_1$, for which the smallest
    Ritz value stands.

    **Arguments:**

    - `operator`: $A$, known to be self-adjoint in its weight, and positive definite.
    - `vector`: $v$, a pytree of arrays like the operator's input; its precision decides.
    - `rtol`: the error relative to the longer of the result and `vector`; `None` is 1e-6 in double and 1e-4 in
        single precision.
    - `max_dimension`: how many vectors may be stored; by default as many as fit into 256 MiB, between 32 and 256.
    - `throw`: raise if the tolerance was not met; otherwise look at `solution.result`, and gradients are NaN.

    **Returns:**

    A [`krylovpde.Solution`][] whose `value` is like `vector`.

    **Raises:**

    Those of [`krylovpde.functions.sqrt_multiply`][]; an eigenvalue that is not positive is a failed result.
    """
    return multiply("functions.log_multiply", Logarithm(), operator, vector, rtol, max_dimension, throw)
