"""`A^{1/2} v` and `A^{-1/2} v`."""

import lineax as lx
from jaxtyping import ArrayLike, PyTree

from .._solution import Solution
from ._multiply import multiply
from ._scalar import InverseSquareRoot, SquareRoot


def sqrt_multiply(
    operator: lx.AbstractLinearOperator,
    vector: PyTree[ArrayLike],
    *,
    rtol: float | None = None,
    max_dimension: int | None = None,
    throw: bool = True,
) -> Solution:
    r"""$A^{1/2} v$ for a positive semidefinite self-adjoint operator, to a tolerance.

    $A V_m = V_m T_m + h\, v_{m+1} e_m^\top$ by Lanczos with full reorthogonalisation, then
    $A^{1/2} v \approx \|v\|\, V_m T_m^{1/2} e_1$. The dimension grows until the bound of the error,
    $\|v\|\, h\, |e_m^\top T_m^{-1/2} e_1|$, is at most `rtol` times the length of the result. With $v$ of independent
    standard normal numbers the result is a Gaussian random field of covariance $A$ (in the Euclidean inner product).

    Ritz values that are rounding, of either sign, count as zero. Where the spectrum reaches zero, as that of a smooth
    covariance does, rounding moves the result by up to $\sqrt{\varepsilon \|A\|}\, \|v\|$, which is part of the error
    estimate: measured 0.4 % of the result in single precision for a field four correlation lengths wide. Ask for no
    more than that, or use float64.

    Derivatives are reverse-mode and of first order, in the operator's parameters and the vector, by a second space
    started from the cotangent: right also for smooth data, in which the derivative of the iteration is not.
    Where both eigenvalues of a pair are rounding, the square root has no derivative, and theirs is left out. Forward
    mode and second derivatives raise.

    **Arguments:**

    - `operator`: $A$, known to be self-adjoint in its weight, and positive semidefinite.
    - `vector`: $v$, a pytree of arrays like the operator's input; its precision decides.
    - `rtol`: the error relative to the length of the result; `None` is 1e-6 in double and 1e-4 in single precision.
    - `max_dimension`: how many vectors may be stored; by default as many as fit into 256 MiB, between 32 and 256.
    - `throw`: raise if the tolerance was not met; otherwise look at `solution.result`, and gradients are NaN.

    **Returns:**

    A [`krylovpde.Solution`][] whose `value` is like `vector`.

    **Raises:**

    `TypeError` for something that is not a lineax operator; `ValueError` for one that is not square or not known to be
    self-adjoint, and for arguments that do not fit; `equinox.EquinoxRuntimeError` for a failed result, a negative
    eigenvalue among them.

    !!! cite "Sources"

        The bound follows from the integral over shifted systems, as in Frommer and Schweitzer, *Error bounds and
        estimates for Krylov subspace approximations of Stieltjes matrix functions* (2016).
    """
    return multiply("functions.sqrt_multiply", SquareRoot(), operator, vector, rtol, max_dimension, throw)


def inverse_sqrt_multiply(
    operator: lx.AbstractLinearOperator,
    vector: PyTree[ArrayLike],
    *,
    rtol: float | None = None,
    max_dimension: int | None = None,
    throw: bool = True,
) -> Solution:
    r"""$A^{-1/2} v$ for a positive definite self-adjoint operator, to a tolerance.

    By the space, and with the derivatives, of [`krylovpde.functions.sqrt_multiply`][]: it whitens a field of covariance
    $A$, and makes one of covariance $A^{-1}$. The error is estimated by
    $\|v\|\, h\, |e_m^\top f[T_m, \theta_1]\, e_1|$ with the smallest Ritz value $\theta_1$ in the place of the smallest
    eigenvalue; it is too small where a vector hardly contains the lowest modes. The dimension grows with the root
    of the condition number.

    **Arguments:**

    - `operator`: $A$, known to be self-adjoint in its weight, and positive definite.
    - `vector`: $v$, a pytree of arrays like the operator's input; its precision decides.
    - `rtol`: the error relative to the length of the result; `None` is 1e-6 in double and 1e-4 in single precision.
    - `max_dimension`: how many vectors may be stored; by default as many as fit into 256 MiB, between 32 and 256.
    - `throw`: raise if the tolerance was not met; otherwise look at `solution.result`, and gradients are NaN.

    **Returns:**

    A [`krylovpde.Solution`][] whose `value` is like `vector`.

    **Raises:**

    Those of [`krylovpde.functions.sqrt_multiply`][]; an eigenvalue that is not positive is a failed result.
    """
    return multiply(
        "functions.inverse_sqrt_multiply", InverseSquareRoot(), operator, vector, rtol, max_dimension, throw
    )
