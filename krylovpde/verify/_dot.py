"""The dot test: whether the transpose is the transpose."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree

from ..krylov._space import norm
from ._random import machine_epsilon, rough

_DRAWS = 3
_ROUNDING = 100


class DotReport(eqx.Module):
    """What [`krylovpde.verify.dot_test`][] found.

    * `mismatch`: the largest `|yᵀ(A x) - (Aᵀy)ᵀx|` relative to `‖y‖ ‖A x‖` or `‖Aᵀy‖ ‖x‖`, whichever is larger.
    * `limit`: what rounding may do.
    * `passed`.
    """

    mismatch: float
    limit: float

    @property
    def passed(self) -> bool:
        """Whether operator and transpose agree to rounding (NaN does not pass)."""
        return bool(self.mismatch <= self.limit)

    def __str__(self) -> str:
        """One line."""
        word = "passed" if self.passed else "FAILED"
        return f"{word}: <y, A x> and <Aᵀ y, x> differ by {self.mismatch:.1e} relative (limit {self.limit:.1e})"


def dot_test(operator: lx.AbstractLinearOperator, *, key: PRNGKeyArray) -> DotReport:
    """Compare `<y, A x>` with `<Aᵀ y, x>` for rough random `x` and `y`.

    `Aᵀ` is `operator.transpose()`, the plain transpose: no conjugate and no weight, for complex operators either. It is
    what reverse mode applies, so an operator that fails here gives wrong gradients.

    **Arguments:**

    - `operator`: any lineax operator, square or not, on arrays or pytrees, real or complex.
    - `key`: for the random numbers.

    **Returns:**

    A [`krylovpde.verify.DotReport`][]; see `.passed` and `.mismatch`.
    """
    draws = [_mismatch(operator, k) for k in jax.random.split(key, _DRAWS)]
    epsilon = machine_epsilon(operator.in_structure(), operator.out_structure())
    return DotReport(float(np.max([float(draw) for draw in draws])), _ROUNDING * epsilon)


@eqx.filter_jit
def _mismatch(operator: lx.AbstractLinearOperator, key: PRNGKeyArray) -> Array:
    key_x, key_y = jax.random.split(key)
    x = rough(key_x, operator.in_structure())
    y = rough(key_y, operator.out_structure())
    image, pulled = operator.mv(x), operator.transpose().mv(y)
    difference = jnp.abs(_bilinear(y, image) - _bilinear(pulled, x))
    scale = jnp.maximum(norm(y) * norm(image), norm(pulled) * norm(x))
    return jnp.where(scale == 0, jnp.zeros_like(scale), difference / jnp.where(scale == 0, 1.0, scale))


def _bilinear(x: PyTree[Array], y: PyTree[Array]) -> Array:
    """`sum x y`, without a conjugate, complex only where the vectors are."""
    return jtu.tree_reduce(jnp.add, jtu.tree_map(lambda a, b: jnp.sum(a * b), x, y))
