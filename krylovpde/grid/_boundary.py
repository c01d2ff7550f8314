"""Boundary conditions: what crosses the outer faces of a grid, or what the field is there.

`n` is the outward normal, `u_b` the value on the face. Values are parameters: arrays that derivatives reach, or signals
in time.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import equinox as eqx
import numpy as np
from jaxtyping import Array

from .._parameter import as_parameter
from ..signal import AbstractSignal
from ._base import AbstractGrid
from ._face_values import as_face_value, check_face_value, constant_value, varying_values
from ._radial import RadialGrid

# The fields of a condition that make it inhomogeneous, and may vary in time; the others are coefficients.
_VALUES = frozenset({"flux", "value"})
# Those that are no numbers on the face.
_STRUCTURE = frozenset({"width"})


class AbstractCondition(eqx.Module):
    """A condition on one side of one axis."""


class Neumann(AbstractCondition):
    """`diffusivity ∂u/∂n = flux`: a diffusive flux through the face, per unit area.

    Zero insulates, a positive flux lets in. For waves, `∂u/∂n = flux` without a coefficient. Beside advection it fixes
    the diffusive flux alone, and the fluid carries its own value out. See [`krylovpde.TotalFlux`][].
    """

    flux: Any

    def __init__(self, flux: Any = None):
        """The flux that enters.

        **Arguments:**

        - `flux`: a number, or an array over the face (`grid.shape` without the axis); or what varies in time, as in
            [`krylovpde.Dirichlet`][]. Left out it is zero for good, and costs nothing; a number, 0.0 too, is a
            parameter.
        """
        self.flux = as_face_value(flux, "Neumann(flux)")


class Dirichlet(AbstractCondition):
    """`u_b = value` on the face."""

    value: Any

    def __init__(self, value: Any = None):
        """The value on the face.

        **Arguments:**

        - `value`: a number, or an array over the face (`grid.shape` without the axis); a signal in time
            ([`krylovpde.Sampled`][], [`krylovpde.Piecewise`][], a function of time, taken as smooth), which holds for
            the whole face; a [`krylovpde.Source`][] of a profile over the face and a signal; or a list of these, which
            is their sum. Left out it is zero for good, and costs nothing; a number, 0.0 too, is a parameter.
        """
        self.value = as_face_value(value, "Dirichlet(value)")


class Periodic(AbstractCondition):
    """The last cell is the neighbour of the first. It stands on both sides of an axis."""


class Robin(AbstractCondition):
    """`alpha u_b + beta (diffusivity ∂u/∂n) = value`.

    For a stable problem `alpha` and `beta` have one sign and are not both zero. For waves `∂u/∂n` has no coefficient.
    """

    alpha: Array
    beta: Array
    value: Any

    def __init__(self, alpha: Any, beta: Any, value: Any = None):
        """The two coefficients and the right-hand side.

        **Arguments:**

        - `alpha`, `beta`: numbers or arrays over the face.
        - `value`: a number or an array over the face, or what varies in time, as in [`krylovpde.Dirichlet`][]. Left
            out it is zero for good.
        """
        self.alpha = as_parameter(alpha, "Robin(alpha)")
        self.beta = as_parameter(beta, "Robin(beta)")
        self.value = as_face_value(value, "Robin(value)")


class TotalFlux(AbstractCondition):
    """`diffusivity ∂u/∂n - (velocity · n) u_b = value`: advective and diffusive flux together, per unit area.

    A positive value lets in. The inlet of a column that is fed with a solution of concentration `c` at velocity `v` is
    `TotalFlux(v * c)`. Without advection it is the same as [`krylovpde.Neumann`][].
    """

    value: Any

    def __init__(self, value: Any = None):
        """The flux that enters, advection included.

        **Arguments:**

        - `value`: a number or an array over the face, or what varies in time, as in [`krylovpde.Dirichlet`][]. Left
            out it is zero for good: nothing passes.
        """
        self.value = as_face_value(value, "TotalFlux(value)")


class Absorbing(AbstractCondition):
    r"""Waves leave: a perfectly matched layer of `width` cells inside the grid, for [`krylovpde.Wave`][].

    In the layer the derivative across it is divided by $S = 1 + \zeta/(\partial_t + \alpha)$. A wave that comes in at
    the angle $\theta$ is damped by $\exp(-2\cos\theta \int \zeta/c) = 10^{-3\cos\theta}$ on its way to the wall,
    where the field is zero, and back: of its energy $10^{-6}$ returns at 0°, $10^{-3}$ at 60°, for 20 cells.

    What the layer covers is part of the grid, but not of the physics: put sources and sensors inside of it, and let
    coefficients be constant across it. `ζ` follows the largest speed in the layer, as a constant to every derivative.
    It does not work for waves that graze it, which hardly move along its normal, nor well for evanescent waves, for
    wavelengths beyond some ten layers, or where coefficients vary much along its normal.
    """

    width: int = eqx.field(static=True)

    def __init__(self, width: Any):
        """The thickness.

        **Arguments:**

        - `width`: how many cells; 20 is a good value.

        **Raises:**

        `ValueError` for anything but a positive integer.
        """
        if isinstance(width, bool) or not isinstance(width, int | np.integer) or width < 1:
            message = f"`Absorbing(width=...)` must be a number of cells, an integer of at least 1, got {width!r}."
            raise ValueError(message)
        self.width = int(width)


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
    """The conditions of each axis, `(lower, upper)`, checked, with the constant part of their values.

    **Arguments:**

    - `boundary`: what the user gave.
    - `grid`: the grid, which tells the number of axes and the shapes of the faces.
    - `allowed`: the conditions that the caller knows.
    - `where`: the caller's name, for messages.

    **Returns:**

    One pair per axis; `(lower, upper, inner)` where there is a condition on the edge of a mask. What varies in time is
    left out: see `driven_walls`.

    **Raises:**

    `TypeError` for something that is not a condition, `ValueError` for one that `where` does not know, a wrong number
    of them, `Periodic` on one side only, a value of a shape that is not the face's, or an inner condition without a
    mask.
    """
    pairs = _pairs(boundary, grid, where)
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
        _check_layers(pair, axis, grid, where)
    inner = _inner(boundary)
    if inner is not None:
        _check_inner(inner, grid, allowed, where)
        pairs = tuple((*pair, inner) for pair in pairs)
    return tuple(tuple(map(steady_condition, pair)) for pair in pairs)


def driven_walls(
    boundary: BoundaryLike, grid: AbstractGrid, precision: Any
) -> list[tuple[tuple[tuple[AbstractCondition, ...], ...], AbstractSignal]]:
    """What varies in time of a checked boundary: conditions whose only value is one profile, and the signal of each.

    The forcing is linear in the values, so each of these is a source of its own, beside that of `resolve_boundary`.

    **Arguments:**

    - `boundary`: what the user gave.
    - `grid`: the grid.
    - `precision`: a dtype, of the profiles.
    """
    inner = _inner(boundary)
    pairs = _pairs(boundary, grid, "driven_walls")
    rows = [list(pair) if inner is None else [*pair, inner] for pair in pairs]
    nothing = [[_with_values(condition, lambda _: None) for condition in row] for row in rows]
    found = []
    for axis, pair in enumerate(pairs):
        face = grid.shape[:axis] + grid.shape[axis + 1 :]
        for side, condition in enumerate(pair):
            for replaced, signal in _driven_parts(condition, nothing[axis][side], face, precision):
                walls = [list(row) for row in nothing]
                walls[axis][side] = replaced
                found.append((tuple(map(tuple, walls)), signal))
    if inner is not None:
        # The edge of a mask is one wall, whatever the axis.
        for replaced, signal in _driven_parts(inner, nothing[0][-1], grid.shape, precision):
            found.append((tuple((*row[:-1], replaced) for row in nothing), signal))
    return found


def _driven_parts(
    condition: AbstractCondition, silent: AbstractCondition, face: tuple[int, ...], precision: Any
) -> list[tuple[AbstractCondition, AbstractSignal]]:
    """The condition with one profile at a time in the place of its values, and the signals."""
    return [
        (_replace(silent, name, profile), signal)
        for name, value in vars(condition).items()
        for profile, signal in varying_values(value, face, precision)
    ]


def _inner(boundary: BoundaryLike) -> AbstractCondition | None:
    return boundary.inner if isinstance(boundary, Boundary) else None


def _check_inner(inner: AbstractCondition, grid: AbstractGrid, allowed: Any, where: str) -> None:
    if isinstance(inner, Periodic | Absorbing) or not grid.is_masked:
        message = (
            f"`{where}(boundary=Boundary(inner=...))` is for the faces beside cells that are not active, on a grid "
            f"made with `active=`; it is neither Periodic() nor Absorbing(). Got {inner!r} on {grid!r}."
        )
        raise ValueError(message)
    _check_condition(inner, grid.shape, "at the edge of the mask", allowed, where)


def steady_condition(condition: AbstractCondition) -> AbstractCondition:
    """The condition with the part of its values that does not vary in time."""
    return _with_values(condition, constant_value)


def _with_values(condition: AbstractCondition, function: Callable[[Any], Any]) -> AbstractCondition:
    for name in _VALUES.intersection(vars(condition)):
        condition = _replace(condition, name, function(getattr(condition, name)))
    return condition


def _replace(condition: AbstractCondition, name: str, value: Any) -> AbstractCondition:
    if value is getattr(condition, name):
        return condition
    return eqx.tree_at(lambda c: getattr(c, name), condition, value, is_leaf=lambda node: node is None)


def _pairs(boundary: BoundaryLike, grid: AbstractGrid, where: str) -> tuple[tuple[Any, Any], ...]:
    boundary = _as_side(boundary)
    lower, upper = (boundary.lower, boundary.upper) if isinstance(boundary, Boundary) else (boundary, boundary)
    return tuple(zip(_per_axis(lower, grid, where), _per_axis(upper, grid, where), strict=True))


def _check_layers(pair: tuple[Any, Any], axis: int, grid: AbstractGrid, where: str) -> None:
    widths = [condition.width for condition in pair if isinstance(condition, Absorbing)]
    if widths and (isinstance(grid, RadialGrid) or grid.is_masked):
        message = (
            f"`{where}(boundary=...)`: Absorbing layers lie on Cartesian grids whose cells are all active, not on "
            f"{grid!r}."
        )
        raise ValueError(message)
    if sum(widths) > grid.shape[axis]:
        message = (
            f"`{where}(boundary=...)`: the Absorbing layers across axis {axis} are {' + '.join(map(str, widths))} "
            f"cells thick, but the axis has {grid.shape[axis]}. The layers lie inside the grid: make it larger, or "
            "them thinner."
        )
        raise ValueError(message)


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
        if name not in _STRUCTURE:
            check_face_value(value, face, f"{type(condition).__name__}({name}=...)` {place}")
