"""Fields that are linear in few numbers, through one small dense matrix along each axis."""

from collections.abc import Sequence

import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Array, Float

from ...functions._along import along_axes
from ...grid import AbstractGrid
from ._base import field_and_weights


def closest_coefficients(
    grid: AbstractGrid,
    matrices: Sequence[np.ndarray],
    before: Float[Array, "..."],
    field: Float[Array, "..."],
) -> Float[Array, "..."]:
    """The coefficients `c` that make `(M_1 ⊗ ... ⊗ M_d) c` closest to a field, weighted with the cells' volumes.

    Where several do, those that are nearest to the coefficients from before.
    """
    field, weights = field_and_weights(grid, field)
    difference = field - along_axes(matrices, before)
    if not grid.is_masked:
        # Products of one factor per axis: so is the pseudoinverse of the weighted matrix.
        roots = [np.sqrt(grid.cell_measures(axis)) for axis in range(grid.ndim)]
        inverses = [np.linalg.pinv(root[:, None] * m) * root for root, m in zip(roots, matrices, strict=True)]
        return before + along_axes(inverses, difference)
    # lineax's LSMR mixes in numbers of the default precision, so it is given no other.
    precision = jnp.result_type(float)
    root = jnp.asarray(np.sqrt(weights / np.max(weights)), precision)
    start = jnp.zeros(before.shape, precision)
    operator = lx.FunctionLinearOperator(lambda c: root * along_axes(matrices, c), start)
    tolerance = 10 * float(jnp.finfo(precision).eps)
    solver = lx.LSMR(rtol=tolerance, atol=tolerance, max_steps=20 * before.size, conlim=1 / tolerance)
    change = lx.linear_solve(operator, root * difference.astype(precision), solver, throw=False).value
    return before + change.astype(before.dtype)
