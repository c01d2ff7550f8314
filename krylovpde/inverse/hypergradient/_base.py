"""What a hypergradient asks of linear algebra: the inverse of a symmetric matrix, known by products, times one vector.

Unknowns are one flat vector here. A matrix is a function that multiplies it with a vector.
"""

import abc
from collections.abc import Callable
from typing import TypeAlias

import equinox as eqx
from jaxtyping import Array, Float, Int

from ..._solution import RESULTS

#: `x -> H x`, symmetric.
Product: TypeAlias = Callable[[Float[Array, " n"]], Float[Array, " n"]]


class InverseProduct(eqx.Module):
    """An approximation of `(H + ρ I)⁻¹ g`.

    - `value`: it.
    - `products`: how many products `H x` were made.
    - `result`: whether `H + ρ I` was found not to be positive definite, or a series to diverge.
    """

    value: Float[Array, " n"]
    products: Int[Array, ""]
    result: RESULTS


class AbstractInverse(eqx.Module):
    """How `(H + ρ I)⁻¹ g` is approximated."""

    @property
    @abc.abstractmethod
    def shift(self) -> Float[Array, ""]:
        """`ρ`."""

    @abc.abstractmethod
    def solve(self, product: Product, vector: Float[Array, " n"]) -> InverseProduct:
        """`(H + ρ I)⁻¹ vector`.

        **Arguments:**

        - `product`: `x -> H x`.
        - `vector`: `g`.
        """
