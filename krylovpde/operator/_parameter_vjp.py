"""The derivative of `<b, A(θ) x>` in the parameters, the innermost piece of every reversed recurrence.

JAX's own: for stencils it takes 0.3 to 2.3 times as long as the operator (examples/benchmarks/kernels.py). Products of
jumps across the faces, written by hand, were measured to be no faster but for transport, and took more memory.
"""

import equinox as eqx
import jax
import lineax as lx
from jaxtyping import Array, PyTree


def parameter_vjp(operator: lx.AbstractLinearOperator, x: PyTree[Array], cotangent: PyTree[Array]) -> PyTree:
    """The cotangents of the operator's inexact arrays, laid out as `eqx.filter(operator, eqx.is_inexact_array)`.

    `cotangent`: `b`, like `A x`; the product is bilinear, without conjugation.
    """
    theta, rest = eqx.partition(operator, eqx.is_inexact_array)
    return jax.vjp(lambda theta: eqx.combine(theta, rest).mv(x), theta)[1](cotangent)[0]
