"""The second derivative of the inner loss in the unknowns, or what stands for it."""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, PyTree

from ..fitting._normal_equations import linearise


class AbstractHessian(eqx.Module):
    """Which matrix `H` is inverted."""

    @abc.abstractmethod
    def product(self, inner: Any, free: PyTree[Array], fixed: PyTree) -> Callable[[PyTree[Array]], PyTree[Array]]:
        """`x -> H x` at the solution, linearised once.

        **Arguments:**

        - `inner`: the inner loss.
        - `free`: the solution's free leaves.
        - `fixed`: the rest of it.
        """


class ExactHessian(AbstractHessian):
    """`∂²inner/∂θ²`, by a derivative in forward mode of the gradient.

    Right for every loss at a minimum. Away from one, and where a PDE is far from linear in its coefficient, it may have
    negative eigenvalues.
    """

    def product(self, inner: Any, free: PyTree[Array], fixed: PyTree) -> Callable[[PyTree[Array]], PyTree[Array]]:
        return jax.linearize(jax.grad(lambda unknowns: inner(eqx.combine(unknowns, fixed))), free)[1]


class GaussNewtonHessian(AbstractHessian):
    """`JᵀJ` with the Jacobian `J` of the residual of the inner loss, for losses that are sums of squares.

    Positive semidefinite wherever it is taken, of no higher rank than there are data, and made of first derivatives
    alone. It differs from the Hessian by the residuals times their second derivatives, little where the data are
    fitted to their noise.

    **Arguments:**

    - `part`: `part(inner)`, the loss whose residual is meant: for a prior that the inner product accounts for, the data
        alone, `lambda inner: inner.terms[0]`. The inner loss itself if `None`.

    **Raises:** `TypeError` (when used) for a loss without a residual.
    """

    part: Callable[[Any], Any] | None = None

    def product(self, inner: Any, free: PyTree[Array], fixed: PyTree) -> Callable[[PyTree[Array]], PyTree[Array]]:
        loss = inner if self.part is None else self.part(inner)
        if not hasattr(loss, "residual"):
            message = (
                f"GaussNewtonHessian: {type(loss).__name__} has no method `residual(model)`. Use a sum of squares such "
                "as kp.inverse.LeastSquares, name the part that is one (`part=`), or take ExactHessian()."
            )
            raise TypeError(message)
        linearised = linearise(lambda unknowns: loss.residual(eqx.combine(unknowns, fixed)), free)
        return lambda x: linearised.transposed(linearised.forward(x))
