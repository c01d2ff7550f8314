"""Unknowns as one vector, orthonormal in an inner product."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Float, PyTree

from ..inner_product import AbstractInnerProduct


class Coordinates(NamedTuple):
    """`x = S y` between a vector `y` and a pytree `x`.

    - `synthesise(y)`: `S y`.
    - `analyse(g)`: `Sᵀ g`, of a derivative.
    """

    synthesise: Callable[[Float[Array, " n"]], PyTree[Array]]
    analyse: Callable[[PyTree[Array]], Float[Array, " n"]]


def coordinates(like: PyTree[Array], inner_product: Any) -> Coordinates:
    """Coordinates of pytrees like this one.

    **Arguments:**

    - `inner_product`: `None`, an inner product for every leaf, or a pytree of both that is a prefix of `like`.
    """
    leaves, structure = jtu.tree_flatten(like)
    products = _for_each_leaf(like, inner_product)
    dtype = jnp.result_type(*[leaf.dtype for leaf in leaves]) if len({leaf.dtype for leaf in leaves}) == 1 else None
    dtype = dtype or max((leaf.dtype for leaf in leaves), key=lambda d: jnp.finfo(d).bits)
    ends = [0]
    for leaf in leaves:
        ends.append(ends[-1] + leaf.size)

    def synthesise(y: Array) -> PyTree[Array]:
        parts = [y[a:b].reshape(leaf.shape) for a, b, leaf in zip(ends, ends[1:], leaves, strict=False)]
        fields = [part if p is None else p.factor(part) for part, p in zip(parts, products, strict=True)]
        return structure.unflatten([field.astype(leaf.dtype) for field, leaf in zip(fields, leaves, strict=True)])

    transposed = jax.linear_transpose(synthesise, jax.ShapeDtypeStruct((ends[-1],), dtype))
    return Coordinates(synthesise, lambda derivative: transposed(derivative)[0])


def _for_each_leaf(like: PyTree[Array], inner_product: Any) -> list[AbstractInnerProduct | None]:
    def is_product(node: Any) -> bool:
        return node is None or isinstance(node, AbstractInnerProduct)

    def spread(product: Any, part: PyTree[Array]) -> list[Any]:
        if not is_product(product):
            message = (
                f"hypergradient: inner_product holds a {type(product).__name__}. Give None, kp.inverse.L2, H1, "
                "CameronMartin or another AbstractInnerProduct, or a pytree of these like the free unknowns."
            )
            raise TypeError(message)
        return [product] * len(jtu.tree_leaves(part))

    if is_product(inner_product):
        return spread(inner_product, like)
    nested = jtu.tree_map(spread, inner_product, like, is_leaf=is_product)
    return [
        product for products in jtu.tree_leaves(nested, is_leaf=lambda n: isinstance(n, list)) for product in products
    ]
