"""The limits of the free parameters, as the optimisers need them."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Bool, PyTree

from ..parameter import Box, bounds_of
from ._tree import only


class Bounds(eqx.Module):
    """`lower <= parameters <= upper`; both are `None` where no parameter stands in a `Box`, and nothing is computed.

    An unknown is *held* where it sits on a limit and the gradient pushes it against that limit; all others are free.

    Source: Bertsekas, "Projected Newton methods for optimization problems with simple constraints", SIAM J. Control
    Optim. 20 (1982).
    """

    lower: PyTree = None
    upper: PyTree = None

    @property
    def exist(self) -> bool:
        """Whether there are any."""
        return self.lower is not None

    def project(self, parameters: PyTree[Array]) -> PyTree[Array]:
        """The closest parameters within the limits. Complex ones have none."""
        if not self.exist:
            return parameters

        def clip(leaf, lower, upper):
            return leaf if jnp.iscomplexobj(leaf) else jnp.clip(leaf, lower, upper)

        return jtu.tree_map(clip, parameters, self.lower, self.upper)

    def free(self, parameters: PyTree[Array], gradient: PyTree[Array]) -> PyTree[Bool[Array, "..."]] | None:
        """Where a small step along minus the gradient is not stopped by a limit."""
        if not self.exist:
            return None

        def is_free(leaf, slope, lower, upper):
            if jnp.iscomplexobj(leaf):
                return jnp.ones(leaf.shape, bool)
            held = ((leaf <= lower) & (slope > 0)) | ((leaf >= upper) & (slope < 0)) | (lower == upper)
            return jnp.logical_not(held)

        return jtu.tree_map(is_free, parameters, gradient, self.lower, self.upper)

    def reduced(self, parameters: PyTree[Array], gradient: PyTree[Array]) -> PyTree[Array]:
        """The gradient without the parts that push against a limit: zero at a solution."""
        return only(self.free(parameters, gradient), gradient)


def _is_box(node: Any) -> bool:
    return isinstance(node, Box)


def bounds_like(model: PyTree, parameters: PyTree) -> Bounds:
    """The bounds of a model's free parameters (`None` stands in `parameters` where a leaf is not free)."""
    boxes = [node for node in jtu.tree_leaves(model, is_leaf=_is_box) if _is_box(node)]
    limits = [limit.array for box in boxes for limit in (box.lower, box.upper)]
    if not any(np.isfinite(limit).any() for limit in limits):
        return Bounds()

    def pick(parameter: Any, limit: Any) -> Any:
        return None if parameter is None else limit

    lower, upper = (
        jtu.tree_map(pick, parameters, side, is_leaf=lambda node: node is None) for side in bounds_of(model)
    )
    return Bounds(lower, upper)
