"""Radial grids: cylinders and spheres that depend on the radius alone."""

import equinox as eqx
import numpy as np

from .._custom_types import Numbers
from ._base import AbstractGrid
from ._checks import as_edges


class RadialGrid(AbstractGrid):
    r"""A one-dimensional grid in the radius `r` of a cylinder (per unit height) or a sphere.

    Cells are whole annuli of volume `π(r₂² - r₁²)`, or shells of volume `4/3 π(r₂³ - r₁³)`; faces have areas `2πr`, or
    `4πr²`. Unknowns sit at the midpoints in `r`. A grid whose first edge is 0 has no inner boundary: its condition is
    ignored. Wells and boreholes need widths that grow with `r`: see `numpy.geomspace` for the edges.

    !!! Example

        ```python
        grid = kp.RadialGrid(np.geomspace(0.1, 1000.0, 101), dimension=2)
        ```
    """

    shape: tuple[int, ...] = eqx.field(static=True)
    dimension: int = eqx.field(static=True)
    radii: bytes = eqx.field(static=True)

    def __init__(self, edges: Numbers, dimension: int = 2):
        """Cells between given radii.

        **Arguments:**

        - `edges`: the radii between the cells, increasing, the first one at least 0.
        - `dimension`: 2 for a cylinder, 3 for a sphere.

        **Raises:**

        `ValueError` for edges that do not increase or are negative, or another dimension.
        """
        radii = as_edges(edges, "RadialGrid(edges)")
        if radii[0] < 0:
            message = f"`RadialGrid(edges)`: radii must not be negative, the first edge is {radii[0]}."
            raise ValueError(message)
        if dimension not in (2, 3):
            message = f"`RadialGrid(dimension=...)` is 2 (a cylinder) or 3 (a sphere), got {dimension}."
            raise ValueError(message)
        self.shape = (len(radii) - 1,)
        self.dimension = dimension
        self.radii = radii.tobytes()

    def __hash__(self) -> int:
        return hash((self.shape, self.dimension, self.radii))

    def __repr__(self) -> str:
        radii = self.edges[0]
        return f"RadialGrid(cells={self.shape[0]}, radii=[{radii[0]:g}, {radii[-1]:g}], dimension={self.dimension})"

    @property
    def edges(self) -> tuple[np.ndarray, ...]:
        """The radii between the cells, in a tuple of one."""
        return (np.frombuffer(self.radii),)

    def face_areas(self, axis: int = 0) -> np.ndarray:
        """`2πr` or `4πr²`."""
        radii = self.edges[axis]
        return 2 * np.pi * radii if self.dimension == 2 else 4 * np.pi * radii**2

    def cell_measures(self, axis: int = 0) -> np.ndarray:
        """`π(r₂² - r₁²)` or `4/3 π(r₂³ - r₁³)`."""
        inner, outer = self.edges[axis][:-1], self.edges[axis][1:]
        if self.dimension == 2:
            return np.pi * (outer - inner) * (outer + inner)
        return 4 / 3 * np.pi * (outer - inner) * (outer**2 + outer * inner + inner**2)
