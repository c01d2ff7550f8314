"""Stencils of fourth order for waves: what they are for, and where they pass into those of second order."""

from typing import Any

import numpy as np

from ..grid import (
    Absorbing,
    AbstractCondition,
    AbstractGrid,
    BoundaryLike,
    Dirichlet,
    Neumann,
    Periodic,
    driven_walls,
    resolve_boundary,
)

_WALLS = (Neumann, Dirichlet, Periodic, Absorbing)


def check_accuracy(accuracy: int, grid: AbstractGrid, boundary: BoundaryLike, where: str) -> None:
    """Whether a checked boundary and the grid are such that the stencil has the order.

    **Raises:** `ValueError` where not.
    """
    if accuracy not in (2, 4) or isinstance(accuracy, bool):
        message = f"`{where}(accuracy=...)` is the order in space, 2 or 4, got {accuracy!r}."
        raise ValueError(message)
    if accuracy == 2:
        return
    if grid.is_masked or not all(map(grid.is_uniform, range(grid.ndim))):
        message = (
            f"`{where}(accuracy=4)` is for uniform Cartesian grids whose cells are all active, not for {grid!r}. Leave "
            "`accuracy` out, or use a uniform grid."
        )
        raise ValueError(message)
    conditions = resolve_boundary(boundary, grid, _WALLS, f"{where}(accuracy=4)")
    values = [value for pair in conditions for wall in pair for value in _values(wall)]
    if any(value is not None for value in values) or driven_walls(boundary, grid, np.dtype(np.float32)):
        message = (
            f"`{where}(accuracy=4)`: its walls are mirrors, `Neumann()` and `Dirichlet()` without a value, but a value "
            "is given. Leave it out, leave `accuracy` out, or drive the wave by a source beside the wall."
        )
        raise ValueError(message)


def fourth_order_shares(conditions: tuple[tuple[AbstractCondition, ...], ...], grid: AbstractGrid) -> tuple[Any, ...]:
    """How much of the fourth-order term each cell of an axis has: all of it; in a layer less and less, down to none.

    What a layer does to the coordinate is made for the stencil of second order. Where two dispersions meet at once,
    waves are reflected; where one passes into the other over the thickness of a layer, next to nothing is.
    """
    return tuple(_shares(size, pair) for size, pair in zip(grid.shape, conditions, strict=True))


def _shares(size: int, pair: tuple[AbstractCondition, ...]) -> np.ndarray:
    shares = np.ones(size)
    # From the wall inwards, on either side.
    for condition, inwards in zip(pair[:2], (shares, shares[::-1]), strict=True):
        if isinstance(condition, Absorbing):
            inwards[: condition.width] *= (np.arange(condition.width) + 0.5) / condition.width
    return shares


def _values(condition: AbstractCondition) -> list[Any]:
    return [value for name, value in vars(condition).items() if name in ("value", "flux")]
