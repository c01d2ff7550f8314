"""The problems: one field coefficient, one output time, smooth data, `J = <w, u(t)>`."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

import krylovpde as kp


class Problem(NamedTuple):
    """What a problem is, apart from the number of cells along each axis.

    `stiffness`: `R = t sqrt(rho)` for waves, `t rho` otherwise (for advection with 256 cells along each axis).
    `accuracy`: what a gradient's error may be to count in the conclusion. `rtol`: what krylovpde is asked for.
    `cells`: fixed where the problem lives from being small.
    """

    kind: str
    stiffness: float
    dimension: int = 2
    accuracy: float = 1e-5
    rtol: float = 1e-6
    cells: int | None = None

    def stiffness_with(self, size: int) -> float:
        """With so many cells: a wind that grows with them, to keep their Péclet number, crosses the same distance.

        At the same `t rho` on a coarser grid the field would have left it, and relative errors say nothing.
        """
        carried = self.kind == "advection" and self.cells is None
        return self.stiffness * size / 256 if carried else self.stiffness


PROBLEMS = {
    "wave": Problem("wave", 440.0),
    "long wave": Problem("wave", 880.0),
    "heat": Problem("heat", 6300.0),
    "advection": Problem("advection", 1600.0),
    # Where krylovpde is expected to lose: few unknowns, one dimension at modest accuracy, no stiffness at two digits.
    "tiny": Problem("heat", 100.0, dimension=1, cells=32),
    "rod": Problem("heat", 6300.0, dimension=1, accuracy=1e-3, rtol=1e-3, cells=256),
    "loose": Problem("advection", 20.0, accuracy=1e-2, rtol=1e-2, cells=64),
}


class Case:
    """A problem at a size: `equation(coefficient)`, start, end, weight.

    `tolerances`: for everything that controls its error, in the place of its own choice.
    """

    def __init__(
        self,
        name: str,
        size: int,
        stiffness: float | None = None,
        dtype: Any = float,
        tolerances: tuple[float, ...] = (),
    ):
        """The fields of one of `PROBLEMS`, on `size` cells along each axis if it has no number of its own."""
        self.tolerances = tolerances
        self.name, self.problem = name, PROBLEMS[name]
        self.kind, dimension = self.problem.kind, self.problem.dimension
        self.size = self.problem.cells or size
        self.grid = kp.Grid((self.size,) * dimension, (0.0,) * dimension, (1.0,) * dimension)
        x, *others = self.grid.coordinates
        y = others[0] if others else 0.5
        pulse = jnp.asarray(np.exp(-100 * ((x - 0.4) ** 2 + (y - 0.5) ** 2)), dtype)
        self.weight = jnp.asarray(np.exp(-80 * ((x - 0.6) ** 2 + (y - 0.4) ** 2)), dtype)
        self.coefficient = jnp.asarray(1.0 + 0.3 * np.sin(3 * x) * np.cos(4 * y) + 0.2 * (x > 0.5), dtype)
        self.waves = self.kind == "wave"
        self.initial: Any = kp.WaveState(pulse, jnp.zeros_like(pulse)) if self.waves else pulse
        self.wind = tuple(jnp.full(self.grid.shape, part * self.size, dtype) for part in (1.0, -0.5)[:dimension])
        self.bound = float(kp.spectral_bound(self.equation(self.coefficient).operator()))
        self.stiffness = self.problem.stiffness_with(self.size) if stiffness is None else stiffness
        self.end = self.stiffness / (self.bound**0.5 if self.waves else self.bound)

    @property
    def field(self) -> Any:
        """The field at the start."""
        return self.seen(self.initial)

    def equation(self, coefficient: Any) -> Any:
        """The equation of a coefficient; the cell Péclet number of the wind is 1 where the diffusivity is."""
        if self.waves:
            return kp.Wave(self.grid, coefficient)
        if self.kind == "advection":
            return kp.AdvectionDiffusion(self.grid, coefficient, self.wind)
        return kp.Diffusion(self.grid, coefficient)

    def seen(self, state: Any) -> Any:
        """The field of a state."""
        return state.displacement if self.waves else state
