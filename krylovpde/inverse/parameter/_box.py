"""An unknown between limits that it may touch: the optimiser keeps it there."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree, Shaped

from ..._parameter import as_inexact
from ...grid import broadcasts_to, is_concrete
from ...operator._constant import Constant
from ._base import AbstractParameter


class Box(AbstractParameter):
    """`value = raw`, with `lower <= raw <= upper` enforced by the optimiser.

    Where `Bounded` bends the axis so that a limit is never reached (and derivatives vanish near it), a `Box` leaves the
    numbers as they are, and optimisers that know bounds (`kp.inverse.LBFGS`, `kp.inverse.GaussNewton`, and the optax
    optimisers without a line search) project their steps: an unknown may sit on a limit and leave it again. A `Box`
    is the free number of other parameters too: `Positive(Box(log_k, -20.0, -2.0))` bounds the logarithm.

    The limits are structure: no derivative reaches them, and other limits are another program to compile.

    **Arguments:**

    - `raw`: free numbers, any shape.
    - `lower`, `upper`: the limits, in the unit of `raw`: numbers, or arrays that broadcast to its shape; `-inf` and
        `inf` are no limit, `lower == upper` holds the number fixed.

    **Raises:** `ValueError` for a lower limit above its upper one, a NaN, or a shape that does not broadcast;
    `TypeError` for limits that are traced, and for a parameter as `raw` (put the `Box` into it, not around it).
    """

    raw: Float[Array, "..."] = eqx.field(converter=lambda raw: _as_raw(raw))
    lower: Constant = eqx.field(converter=lambda limit: _as_limit(limit, "lower"))
    upper: Constant = eqx.field(converter=lambda limit: _as_limit(limit, "upper"))

    def __check_init__(self):
        lower, upper = self.lower.array, self.upper.array
        for name, limit in (("lower", lower), ("upper", upper)):
            if not broadcasts_to(limit.shape, self.raw.shape):
                message = (
                    f"Box: {name} of shape {limit.shape} does not broadcast to raw's shape {self.raw.shape}. "
                    "Give one number, or an array of that shape."
                )
                raise ValueError(message)
        # One comparison for both: a NaN is not in order with anything.
        disordered = ~(lower <= upper)
        if disordered.any():
            message = (
                f"Box: lower must be at most upper, but it is not in {disordered.sum()} of {disordered.size} entries; "
                f"lower ranges from {lower.min():.6g} to {lower.max():.6g}, upper from {upper.min():.6g} to "
                f"{upper.max():.6g}."
            )
            raise ValueError(message)

    @property
    def value(self) -> Float[Array, "..."]:
        """`raw`, as it is: a value outside the limits is the optimiser's affair."""
        return self.raw

    @property
    def limits(self) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """`(lower, upper)` as arrays of raw's shape and precision."""
        shape, dtype = self.raw.shape, self.raw.dtype
        lower, upper = (np.broadcast_to(limit.array, shape) for limit in (self.lower, self.upper))
        return jnp.asarray(lower, dtype), jnp.asarray(upper, dtype)

    def with_value(self, value: Shaped[ArrayLike, "..."]) -> "Box":
        """The same box around another value: the number between the limits that is closest to it.

        **Arguments:**

        - `value`: numbers that broadcast to the shape of `raw`.

        **Returns:** a `Box` with the same limits.

        **Raises:** `ValueError` for a value of another shape.
        """
        value = jnp.asarray(value, self.raw.dtype)
        if not broadcasts_to(value.shape, self.raw.shape):
            message = f"Box.with_value: value has the shape {value.shape}, but the parameter's value {self.raw.shape}."
            raise ValueError(message)
        return Box(jnp.clip(jnp.broadcast_to(value, self.raw.shape), *self.limits), self.lower, self.upper)


def bounds_of(model: PyTree) -> tuple[PyTree[Array], PyTree[Array]]:
    """The limits of every number of a model: those of the `Box` around it, or none.

    **Arguments:**

    - `model`: any pytree.

    **Returns:** `(lower, upper)`, each like `eqx.filter(model, eqx.is_inexact_array)`, with `-inf` and `inf` for
    numbers that stand in no `Box`.
    """

    def limits(node: Any, side: int) -> Any:
        if isinstance(node, Box):
            return eqx.tree_at(lambda box: box.raw, node, node.limits[side])
        return jnp.full(node.shape, (-jnp.inf, jnp.inf)[side], jnp.finfo(node.dtype).dtype)

    # A model of a filtered kind (gradients, say) may hold boxes without numbers, which have no limits.
    arrays = eqx.filter(model, eqx.is_inexact_array)
    lower, upper = (
        jtu.tree_map(lambda node, side=side: limits(node, side), arrays, is_leaf=_is_full_box) for side in (0, 1)
    )
    return lower, upper


def _is_full_box(node: Any) -> bool:
    return isinstance(node, Box) and node.raw is not None


def _as_raw(raw: Any) -> Array:
    if isinstance(raw, AbstractParameter):
        message = (
            f"Box: raw is a {type(raw).__name__}, but a box holds free numbers. Put the box into the parameter, "
            f"{type(raw).__name__}(Box(...), ...), with limits of its free numbers."
        )
        raise TypeError(message)
    return as_inexact(raw)


def _as_limit(limit: Any, name: str) -> Constant:
    if isinstance(limit, Constant):
        return limit
    if not is_concrete(limit):
        message = f"Box: {name} is traced, but limits are structure. Make the box outside of `jit` and `grad`."
        raise TypeError(message)
    return Constant(np.asarray(limit, dtype=np.float64))
