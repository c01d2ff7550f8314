"""A neural network as a field."""

from collections.abc import Callable
from typing import Any, NoReturn

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Shaped

from ...grid import AbstractGrid
from ._base import AbstractParameter


class NetworkField(AbstractParameter):
    """`value_i = network(x_i)`: any Equinox network of the coordinates of the cells' centres.

    The coordinates are mapped to numbers between -1 and 1 along each axis. The weights of the network are the unknowns.
    Give it limits by nesting: `Positive(NetworkField(network, grid))`.

    **Arguments:**

    - `network`: a callable module from an array of shape `(grid.ndim,)` to one number, of shape `()` or `(1,)`:
        `eqx.nn.MLP(2, "scalar", 32, 3, key=key)`.
    - `grid`: where the field lives.

    **Raises:** `ValueError` for a network whose output is not one number.
    """

    network: Callable[[Array], Array]
    grid: AbstractGrid

    def __check_init__(self):
        point = jax.ShapeDtypeStruct((self.grid.ndim,), self._dtype())
        out = eqx.filter_eval_shape(self.network, point)
        if not hasattr(out, "shape") or out.shape not in ((), (1,)):
            found = f"an array of shape {out.shape}" if hasattr(out, "shape") else f"a {type(out).__name__}"
            message = f"NetworkField: network must give one number for each point, but gives {found}."
            raise ValueError(message)

    @property
    def value(self) -> Float[Array, "..."]:
        """A field of `grid.shape`, in the precision of the network's weights."""
        ends = [(edges[0], edges[-1]) for edges in self.grid.edges]
        scaled = [2 * (x - low) / (high - low) - 1 for x, (low, high) in zip(self.grid.coordinates, ends, strict=True)]
        points = jnp.asarray(np.stack([x.ravel() for x in scaled], axis=1), self._dtype())
        return jax.vmap(self.network)(points).reshape(self.grid.shape)

    def with_value(self, value: Shaped[ArrayLike, "..."]) -> NoReturn:
        """There is no such network at hand.

        **Raises:** `NotImplementedError`.
        """
        message = (
            "NetworkField.with_value: a network cannot be solved for its weights. Fit it to the value first, for "
            "example `kp.inverse.fit(kp.inverse.LeastSquares(lambda field: field.value, value, 1.0), field, "
            "optax.adam(1e-3))`."
        )
        raise NotImplementedError(message)

    def _dtype(self) -> Any:
        leaves = [leaf for leaf in jtu.tree_leaves(self.network) if eqx.is_inexact_array(leaf)]
        return leaves[0].dtype if leaves else jnp.result_type(float)
