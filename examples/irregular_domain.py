"""A lake with an island: a tracer that spreads, a wave that runs, and a disc against Bessel's function.

    python examples/irregular_domain.py --output irregular_domain.png

The domain is a mask of a grid's cells. Nothing passes its edge, or what `Boundary(inner=...)` says.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import j0, jn_zeros

import krylovpde as kp
from krylovpde.plot import field, figure

jax.config.update("jax_enable_x64", True)


def lake(cells: int) -> kp.Grid:
    """Three kilometres long, with an island."""
    box = {"shape": (3 * cells // 2, cells), "lower": (-1.5, -1.0), "upper": (1.5, 1.0)}
    x, y = kp.Grid(**box).coordinates
    angle = np.arctan2(y, x / 1.4)
    water = np.hypot(x / 1.4, y) < 0.82 + 0.1 * np.cos(3 * angle) + 0.06 * np.sin(5 * angle)
    island = (x - 0.35) ** 2 + (y - 0.1) ** 2 / 0.5 < 0.2**2
    return kp.Grid(**box, active=water & ~island)


def tracer(grid: kp.Grid, times: np.ndarray) -> kp.Solution:
    """What was spilled in the west: km² per day; land is closed."""
    x, y = grid.coordinates
    spilled = jnp.asarray(np.exp(-(((x + 0.7) ** 2 + y**2) / 0.15**2)))
    return kp.solve(kp.Diffusion(grid, 0.02), spilled, times)


def wave(grid: kp.Grid, times: np.ndarray) -> kp.Solution:
    """The surface after a stone was thrown in: km and minutes; shores reflect."""
    x, y = grid.coordinates
    raised = jnp.asarray(np.exp(-(((x + 0.7) ** 2 + y**2) / 0.07**2)))
    return kp.solve(kp.Wave(grid, 0.5), kp.WaveState(raised, jnp.zeros(grid.shape)), times)


def disc_error(cells: int) -> float:
    """Of the slowest mode of a disc with absorbing rim, `J₀(z r) exp(-z² t)`, relative to it."""
    x, y = kp.Grid((cells, cells), (-1.0, -1.0), (1.0, 1.0)).coordinates
    grid = kp.Grid((cells, cells), (-1.0, -1.0), (1.0, 1.0), active=x**2 + y**2 < 1.0)
    zero = jn_zeros(0, 1)[0]
    mode = jnp.asarray(np.where(grid.active, j0(zero * np.hypot(x, y)), 0.0))
    rim = kp.Boundary(kp.Dirichlet(), kp.Dirichlet(), inner=kp.Dirichlet())
    exact = mode * np.exp(-0.1 * zero**2)
    error = kp.solve(kp.Diffusion(grid, 1.0, boundary=rim), mode, 0.1).value - exact
    return float(grid.norm(error) / grid.norm(exact))


def main():
    """Solve, print, draw."""
    parser = argparse.ArgumentParser(description="A lake with an island.")
    parser.add_argument("--output", default="irregular_domain.png", help="where the figure goes")
    parser.add_argument("--cells", type=int, default=96, help="across the lake")
    options = parser.parse_args()
    grid, days, minutes = lake(options.cells), np.array([0.0, 1.0, 8.0]), np.array([0.6, 1.6, 3.0])
    spread, ran = tracer(grid, days), wave(grid, minutes)
    mass = [float(grid.integrate(state)) for state in spread.value]
    print(
        f"{int(grid.active.sum())} of {grid.active.size} cells; {float(grid.integrate(jnp.ones(grid.shape))):.3f} km²"
    )
    print(f"tracer: mass {mass[0]:.6f} km², changed by {abs(mass[-1] / mass[0] - 1):.1e}; {spread.stats.method}")
    print(f"wave: {ran.stats.applications} applications, {ran.stats.method}")
    for cells in (16, 32, 64):
        print(f"disc, {cells} cells across: error {100 * disc_error(cells):.1f} %")

    drawn = None
    shown, axes = figure(2, 3, size=(10.5, 5.2))
    for place, state, day in zip(axes[0], spread.value, days, strict=True):
        drawn = field(place, grid, state, title=f"tracer, {day:g} days", limits=(0.0, 0.25), length_unit="km")
    shown.colorbar(drawn, ax=axes[0], label="concentration")
    for place, state, minute in zip(axes[1], ran.value.displacement, minutes, strict=True):
        style = {"title": f"wave, {minute:g} min", "limits": (-0.15, 0.15), "diverging": True, "length_unit": "km"}
        drawn = field(place, grid, state, **style)
    shown.colorbar(drawn, ax=axes[1], label="elevation")
    for place in np.ravel(axes):
        place.set_facecolor("0.85")
    shown.savefig(options.output, dpi=150)


if __name__ == "__main__":
    main()
