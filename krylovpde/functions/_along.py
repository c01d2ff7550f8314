"""Small dense matrices along the axes of a field."""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Inexact


def along_axis(matrix: ArrayLike, field: Inexact[Array, "..."], axis: int) -> Inexact[Array, "..."]:
    """A matrix along one axis, in the precision of the field."""
    image = jnp.tensordot(jnp.asarray(matrix, field.dtype), field, axes=(1, axis), precision="highest")
    return jnp.moveaxis(image, 0, axis)


def along_axes(matrices: Sequence[ArrayLike], field: Inexact[Array, "..."]) -> Inexact[Array, "..."]:
    """One matrix along each axis: `(M_1 ⊗ ... ⊗ M_d) u`."""
    for axis, matrix in enumerate(matrices):
        field = along_axis(matrix, field, axis)
    return field
