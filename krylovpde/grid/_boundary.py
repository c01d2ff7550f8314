"""Boundary conditions: what crosses the outer faces of a grid, or what the field is there.

`n` is the outward normal, `u_b` the value on the face. Values are parameters: arrays that derivatives reach.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import equinox as eqx
from jaxtyping import Array

from ._base import AbstractGrid
from ._checks import as_parameter
from ._radial import RadialGrid


class AbstractCondition(eqx.Module):
    """A condition on one side of one axis."""


class Neumann(AbstractCondition):
    """`diffusivity ∂u/∂n = flux`: a diffusive flux through the face, per unit area.

    Zero insulates, a positive flux lets in. For waves, `∂u/∂n = flux` without a coefficient. Beside advection it fixes
    the diffusive flux alone, and the fluid carries its own value out. See [`krylovpde.TotalFlux`][].
    """

    flux: Array | None

    def __init__(self, flux: Any = None):
        """The flux that enters.

        **Arguments:**

        - `flux`: a number, or an array over the face (`grid.shape` without the axis). Left out it is zero for good,
            and costs nothing; a number, 0.0 too, is a parameter.
        """
        self.flux = None if flux is None else as_parameter(flux, "Neumann(flux)")


class Dirichlet(AbstractCondition):
    """`u_b = value` on the face."""

    value: Array | None

    def __init__(self, value: Any = None):
        """The value on the face.

        **Arguments:**

        - `value`: a number, or an array over the face (`grid.shape` without the axis). Left out it is zero for good,
            and costs nothing; a number, 0.0 too, is a parameter.
        """
        self.value = None if value is None else as_parameter(value, "Dirichlet(value)")


class Periodic(AbstractCondition):
    """The last cell is the neighbour of the first. It stands on both sides of an axis."""


class Robin(AbstractCondition):
    """`alpha u_b + beta (diffusivity ∂u/∂n) = value`.

    For a stable problem `alpha` and `beta` have one sign and are not both zero. For waves `∂u/∂n` has no coefficient.
    """

    alpha: Array
    beta: Array
    value: Array | None

    def __init__(self, alpha: Any, beta: Any, value: Any = None):
        """The two coefficients and the right-hand side.

        **Arguments:**

        - `alpha`, `beta`: numbers or arrays over the face.
        - `value`: a number or an array over the face. Left out it is zero for good.
        """
        self.alpha = as_parameter(alpha, "Robin(alpha)")
        self.beta = as_parameter(beta, "Robin(beta)")
        self.value = None if value is None else as_parameter(value, "Robin(value)")


class TotalFlux(AbstractCondition):
    """`diffusivity ∂u/∂n - (velocity · n) u_b = value`: advective and diffusive flux together, per unit area.

    A positive value lets in. The inlet of a column that is fed with a solution of concentration `c` at velocity `v` is
    `TotalFlux(v * c)`. Without advection it is the same as [`krylovpde.Neumann`][].
    """

    value: Array | None

    def __init__(self, value: Any = None):
        """The flux that enters, advection included.

        **Arguments:**

        - `value`: a number or an array over the face. Left out it is zero for good: nothing passes.
        """
        self.value = None if value is None else as_parameter(value, "TotalFlux(value)")


class Boundary(eqx.Module):
    """Different conditions on the lower and the upper side of the axes, and on the edge of a mask.

    !!! Example

        ```python
        # concentration 1 at the left, free outflow at the right, walls below and above
        kp.Boundary(lower=(kp.Dirichlet(1.0), kp.Neumann()), upper=kp.Neumann())
        ```
    """

    lower: AbstractCondition | tuple[AbstractCondition, ...]
    upper: AbstractCondition | tuple[AbstractCondition, ...]
    inner: AbstractCondition | None

    def __init__(
        self,
        lower: AbstractCondition | Sequence[AbstractCondition] | None = None,
        upper: AbstractCondition | Sequence[AbstractCondition] | None = None,
        *,
        inner: AbstractCondition | None = None,
    ):
        """The conditions of the lower and the upper faces.

        **Arguments:**

        - `lower`, `upper`: a condition for all axes, or a tuple with one per axis; `Neumann()` where left out.
        - `inner`: a condition for the faces between active cells and others, on a grid with a mask. Its values are
            numbers, or fields of `grid.shape` that are read in the cells beside these faces. Left out, nothing passes.
        """
        self.lower = _as_side(lower)
        self.upper = _as_side(upper)
        self.inner = inner


BoundaryLike: TypeAlias = AbstractCondition | Boundary | tuple[AbstractCondition, ...] | list[AbstractCondition] | None
"""One condition for all sides, a tuple with one per axis, or a `Boundary`; `None` is `Neumann()`."""


def _as_side(side: Any) -> Any:
    if side is None:
        return Neumann()
    return tuple(side) if isinstance(side, tuple | list) else side


def resolve_boundary(
    boundary: BoundaryLike,
    grid: AbstractGrid,
    allowed: tuple[type[AbstractCondition], ...],
    where: str,
) -> tuple[tuple[AbstractCondition, ...], ...]:
    """The conditions of each axis, `(lower, upper)`, checked.

    **Arguments:**

    - `boundary`: what the user gave.
    - `grid`: the grid, which tells the number of axes and the shapes of the faces.
    - `allowed`: the conditions that the caller knows.
    - `where`: the caller's name, for messages.

    **Returns:**

    One pair per axis; `(lower, upper, inner)` where there is a condition on the edge of a mask.

    **Raises:**

    `TypeError` for something that is not a condition, `ValueError` for one that `where` does not know, a wrong number
    of them, `Periodic` on one side only, a value of a shape that is not the face's, or an inner condition without a
    mask.
    """
    boundary = _as_side(boundary)
    lower, upper = (boundary.lower, boundary.upper) if isinstance(boundary, Boundary) else (boundary, boundary)
    pairs = tuple(zip(_per_axis(lower, grid, where), _per_axis(upper, grid, where), strict=True))
    for axis, pair in enumerate(pairs):
        periodic = [isinstance(condition, Periodic) for condition in pair]
        if any(periodic) and not all(periodic):
            message = (
                f"`{where}(boundary=...)`: Periodic stands on both sides of an axis, but axis {axis} has "
                f"{type(pair[0]).__name__} below and {type(pair[1]).__name__} above."
            )
            raise ValueError(message)
        if all(periodic) and isinstance(grid, RadialGrid):
            message = f"`{where}(boundary=...)`: a radius is not periodic; the two sides of a RadialGrid never meet."
            raise ValueError(message)
        for condition in pair:
            _check_condition(condition, grid.shape[:axis] + grid.shape[axis + 1 :], f"on axis {axis}", allowed, where)
    inner = boundary.inner if isinstance(boundary, Boundary) else None
    if inner is None:
        return pairs
    if isinstance(inner, Periodic) or not grid.is_masked:
        message = (
            f"`{where}(boundary=Boundary(inner=...))` is for the faces beside cells that are not active, on a grid "
            f"made with `active=`; it is not Periodic(). Got {inner!r} on {grid!r}."
        )
        raise ValueError(message)
    _check_condition(inner, grid.shape, "at the edge of the mask", allowed, where)
    return tuple((*pair, inner) for pair in pairs)


def _per_axis(side: Any, grid: AbstractGrid, where: str) -> tuple[Any, ...]:
    if not isinstance(side, tuple):
        return (side,) * grid.ndim
    if len(side) != grid.ndim:
        message = (
            f"`{where}(boundary=...)`: a tuple has one condition per axis, but the grid has {grid.ndim} and the tuple "
            f"{len(side)}. For different conditions on the two sides of an axis use Boundary(lower=..., upper=...)."
        )
        raise ValueError(message)
    return side


def _check_condition(condition, face: tuple[int, ...], place: str, allowed, where: str) -> None:
    names = ", ".join(sorted(kind.__name__ for kind in allowed))
    if not isinstance(condition, AbstractCondition):
        message = (
            f"`{where}(boundary=...)` has {condition!r} of type {type(condition).__name__} where a boundary condition "
            f"belongs: one of {names}, as an object."
        )
        raise TypeError(message)
    if not isinstance(condition, allowed):
        message = f"`{where}(boundary=...)` does not know {type(condition).__name__}; it knows {names}."
        raise ValueError(message)  # noqa: TRY004 (a condition, but one that means nothing here)
    for name, value in vars(condition).items():
        if value is not None and value.shape not in ((), face):
            message = (
                f"`{type(condition).__name__}({name}=...)` {place} has shape {value.shape}; a face there has "
                f"shape {face}. Give a number or an array over the face."
            )
            raise ValueError(message)
