"""Sources: constants, fields, and profiles in space times signals in time."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Inexact, PyTree

from ..grid import AbstractGrid, as_parameter, broadcasts_to, contains, is_concrete, only_active
from ..operator import cast
from ..signal import AbstractSignal, AbstractSource, as_signal


class Source(AbstractSource):
    """`f(x) w(t)`.

    **Arguments:**

    - `profile`: `f`: a number, an array of `grid.shape`, or a pytree like the state of a `krylovpde.Linear`.
    - `signal`: `w`: [`krylovpde.Sampled`][], a function of time (taken as smooth: what it closes over keeps its
        gradient), or a number.

    !!! Example

        ```python
        source = kp.Source(beam, kp.Sampled(times, amplitudes))
        ```
    """

    profile: PyTree[Any]
    signal: AbstractSignal

    def __init__(self, profile: Any, signal: Any):
        self.profile = jtu.tree_map(lambda leaf: as_parameter(leaf, "Source(profile)"), profile)
        self.signal = as_signal(signal, "Source(signal)")

    def field(self, structure: PyTree[jax.ShapeDtypeStruct]) -> PyTree[Inexact[Array, "..."]]:
        """The profile, broadcast.

        **Raises:** `ValueError` for a profile that does not fit.
        """
        profile = self.profile
        if jtu.tree_structure(profile) != jtu.tree_structure(structure):
            if jnp.ndim(profile) != 0:  # raises a TypeError for pytrees
                message = f"`Source(profile=...)` must be a pytree like the state, {structure}."
                raise ValueError(message)
            profile = jtu.tree_map(lambda _: self.profile, structure)

        def fit(like: jax.ShapeDtypeStruct, leaf: Array) -> Array:
            if not broadcasts_to(leaf.shape, like.shape):
                message = f"`Source(profile=...)` must have the state's shape {like.shape}, got {leaf.shape}."
                raise ValueError(message)
            return jnp.broadcast_to(cast(leaf, np.finfo(like.dtype).dtype), like.shape)

        return jtu.tree_map(fit, structure, profile)


class PointSource(AbstractSource):
    r"""`δ(x - position) w(t)`, with a smooth kernel of integral 1 in the place of `δ`.

    A product of cubic B-splines along the axes, two cells wide to each side and mirrored at the walls: twice
    continuously differentiable in the position where the grid is uniform, of integral 1 to rounding wherever it
    stands, and within the grid's own second order of a true point. Derivatives reach the position. Beside cells that
    are not active the kernel is cut off and made larger, within the first order that such an edge has.

    **Arguments:**

    - `grid`: where.
    - `position`: shape `(dimension,)`; on a one-dimensional or radial grid a number will do. On a radial grid it is a
        ring or a shell.
    - `signal`: `w`, as for [`krylovpde.Source`][].

    **Raises:**

    `ValueError` for a position of another shape, or known to lie outside of the grid or in a cell that is not active.
    """

    grid: AbstractGrid
    position: Array
    signal: AbstractSignal

    def __init__(self, grid: AbstractGrid, position: Any, signal: Any):
        if not isinstance(grid, AbstractGrid):
            message = f"`PointSource(grid, ...)` takes a Grid or a RadialGrid, got {type(grid).__name__}."
            raise TypeError(message)
        position = as_parameter(position, "PointSource(position)")
        if position.ndim == 0 and grid.ndim == 1:
            position = position[None]
        if position.shape != (grid.ndim,):
            message = f"`PointSource(position=...)` must have shape ({grid.ndim},), got {position.shape}."
            raise ValueError(message)
        if is_concrete(position) and not contains(grid, np.asarray(position, np.float64)[None])[0]:
            message = (
                f"`PointSource(position=...)`: {position} lies outside of the grid, or in a cell that is not active: "
                f"{grid!r}."
            )
            raise ValueError(message)
        self.grid = grid
        self.position = position
        self.signal = as_signal(signal, "PointSource(signal)")

    def field(self, structure: PyTree[jax.ShapeDtypeStruct]) -> Inexact[Array, "..."]:
        """The kernel on the grid.

        **Raises:** `ValueError` where the state is no field of this grid.
        """
        if not isinstance(structure, jax.ShapeDtypeStruct) or structure.shape != self.grid.shape:
            message = f"`PointSource`: its grid has the shape {self.grid.shape}, the state is {structure}."
            raise ValueError(message)
        precision = np.finfo(structure.dtype).dtype
        position = self.position.astype(precision)
        kernel = jnp.ones((), precision)
        for axis in range(self.grid.ndim):
            weights = _axis_kernel(self.grid, axis, position[axis])
            kernel = kernel * weights.reshape([-1 if i == axis else 1 for i in range(self.grid.ndim)])
        kernel = only_active(self.grid, kernel)
        return kernel / jnp.sum(kernel * jnp.asarray(self.grid.cell_volumes, precision))


def _axis_kernel(grid: AbstractGrid, axis: int, x: Array) -> Array:
    """A cubic B-spline around `x`, as wide as the cells there, with its images behind the walls."""
    centres, widths = grid.centres[axis], grid.widths(axis)
    edges = grid.edges[axis]
    points, sizes = jnp.asarray(centres, x.dtype), jnp.asarray(widths, x.dtype)
    size = sizes[0] if grid.is_uniform(axis) else jnp.interp(x, points, sizes)
    images = [x, 2.0 * float(edges[0]) - x, 2.0 * float(edges[-1]) - x]
    return sum((_cubic_spline((points - image) / size) for image in images[1:]), _cubic_spline((points - x) / size))


def _cubic_spline(r: Array) -> Array:
    r = jnp.abs(r)
    outer = jnp.maximum(2.0 - r, 0.0) ** 3 / 6.0
    return jnp.where(r < 1.0, 2.0 / 3.0 - r**2 + 0.5 * r**3, outer)


def as_sources(value: Any, checked: Any, where: str) -> Any:
    """A source as it is stored: what `checked(value, where)` makes of a constant, a source, or a tuple of these."""
    if value is None or isinstance(value, AbstractSource):
        return value
    if isinstance(value, list | tuple):
        return tuple(as_sources(part, checked, f"{where}[{index}]") for index, part in enumerate(value))
    if callable(value) and not isinstance(value, jax.Array | np.ndarray):
        message = f"`{where}` is a function: say where it acts, `kp.Source(profile, function_of_time)`."
        raise TypeError(message)
    return checked(value, where)


def constant_part(source: Any) -> Any:
    """The sum of the sources that do not vary in time, `None` where there is none."""
    if not isinstance(source, tuple):
        return None if isinstance(source, AbstractSource) else source
    constants = [part for part in source if part is not None and not isinstance(part, AbstractSource)]
    return jtu.tree_map(lambda *leaves: sum(leaves[1:], leaves[0]), *constants) if constants else None


def varying_part(source: Any) -> tuple[AbstractSource, ...]:
    """The sources that vary in time."""
    parts = source if isinstance(source, tuple) else (source,)
    return tuple(part for part in parts if isinstance(part, AbstractSource))
