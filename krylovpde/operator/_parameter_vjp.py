"""The derivative of `<b, A(θ) x>` in the parameters, the innermost piece of every reversed recurrence.

JAX's own: for stencils it takes 0.3 to 2.3 times as long as the operator (examples/benchmarks/kernels.py). Products of
jumps across the faces, written by hand, were measured to be no faster but for transport, and took more memory.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.tree_util as jtu
import lineax as lx
from jaxtyping import Array, PyTree


def parameter_vjp(operator: lx.AbstractLinearOperator, x: PyTree[Array], cotangent: PyTree[Array]) -> PyTree:
    """The cotangents of the operator's inexact arrays, laid out as `eqx.filter(operator, eqx.is_inexact_array)`.

    `cotangent`: `b`, like `A x`; the product is bilinear, without conjugation.
    """
    return pull_parameters(lambda operator, x: operator.mv(x), operator, x, cotangent)


def pull_parameters(
    function: Callable[[Any, PyTree], PyTree], owner: Any, x: PyTree[Array], cotangent: PyTree[Array]
) -> PyTree:
    """The cotangents of the owner's inexact arrays in `function(owner, x)`, linear in `x`.

    A lineax operator made of a function counts the zero that the function pads with among its arrays, and JAX 0.10
    fails to pull back a padding value whose operand is constant. There the cotangent of `x` is asked for, too, and
    dropped; everywhere, that made gradients slower by a third.
    """
    theta, rest = eqx.partition(owner, eqx.is_inexact_array)

    def product(theta: PyTree, x: PyTree) -> PyTree:
        return function(eqx.combine(theta, rest), x)

    if _holds_function(owner):
        return jax.vjp(product, theta, x)[1](cotangent)[0]
    return jax.vjp(lambda theta: product(theta, x), theta)[1](cotangent)[0]


def _holds_function(owner: Any) -> bool:
    nodes = jtu.tree_leaves(owner, is_leaf=lambda node: isinstance(node, lx.FunctionLinearOperator))
    return any(isinstance(node, lx.FunctionLinearOperator) for node in nodes)
