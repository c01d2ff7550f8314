"""Velocity and dispersion in a sand column, from measured breakthrough curves.

    c_t + v c_z = D c_zz,     c = 1 at the inlet z = 0 from t = 0 on,     c = 0 before,    no gradient at the outlet

A tracer is fed into a column of sand; at three depths the concentration is measured while the front passes. Each
depth is fitted by itself: v and D with standard errors, on finer and finer grids, beside the fit of the closed form
for a column without end (Ogata and Banks 1961). Lengths are in cm; the data do not state their unit of time.

    python examples/column_tracer.py [--data DIR] [--widths 0.08 0.056 0.04] [--output FILE]
"""

import argparse
import csv
import os
import sys
from pathlib import Path
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from jax.scipy.special import log_ndtr
from scipy.optimize import least_squares

import krylovpde as kp

CURVES = Path("column_tracer_cxtfit", "fig7_3a_step_breakthrough.csv")
TAIL = 4.0  # cm of column below the last sensor: the closed form has no outlet, and this one must not be felt


# --8<-- [start:model]
class Column(eqx.Module):
    """Concentrations at one of the sensors for (v, D): the partial differential equation on a grid."""

    sensors: kp.Sensors
    sensor: jax.Array  # a number, not structure: all depths share one compiled program
    times: jax.Array

    def __call__(self, parameters: jax.Array) -> jax.Array:
        velocity, dispersion = parameters
        grid = self.sensors.grid
        boundary = kp.Boundary(lower=kp.Dirichlet(1.0), upper=kp.Neumann())
        equation = kp.AdvectionDiffusion(grid, dispersion, (velocity,), boundary=boundary)
        return kp.solve(equation, jnp.zeros(grid.shape), self.times, observe=self.sensors).value[:, self.sensor]


# --8<-- [end:model]
class ClosedForm(eqx.Module):
    """The same for a column without end: `½ [erfc((z - v t) / 2√(D t)) + exp(v z / D) erfc((z + v t) / 2√(D t))]`."""

    depth: jax.Array
    times: jax.Array

    def __call__(self, parameters: jax.Array) -> jax.Array:
        velocity, dispersion = parameters
        width = jnp.sqrt(2 * dispersion * self.times)
        # As logarithms: the exponential overflows where the complementary error function vanishes.
        direct = log_ndtr((velocity * self.times - self.depth) / width)
        mirrored = velocity * self.depth / dispersion + log_ndtr(-(velocity * self.times + self.depth) / width)
        return jnp.exp(direct) + jnp.exp(mirrored)


class Estimate(NamedTuple):
    """Fitted v and D with their standard errors, from the Gauss-Newton Hessian `JᵀJ`, and the residual."""

    velocity: float
    dispersion: float
    velocity_error: float
    dispersion_error: float
    residual: np.ndarray

    def row(self, name: str, width: float | None = None) -> str:
        """A line of the table; for cells with their Péclet number `v h / D`, which has to stay below 2."""
        peclet = "" if width is None else f"{self.velocity * width / self.dispersion:.2f}"
        rmse = np.sqrt(np.mean(self.residual**2))
        velocity = f"{self.velocity:.4f} ± {self.velocity_error:.4f}"
        return f"{name:>12}{peclet:>8}{velocity:>19}{self.dispersion:12.5f} ± {self.dispersion_error:.5f}{rmse:10.5f}"


# --8<-- [start:fit]
@eqx.filter_jit
def linearised(predict, parameters):
    """The predictions, and their derivatives with respect to v and D: two columns, from one linearisation."""
    predictions, jvp = jax.linearize(predict, parameters)
    return predictions, jax.vmap(jvp, out_axes=1)(jnp.eye(2))


def fit(predict, depth: float, measured: np.ndarray) -> Estimate:
    """Least squares from a rough start: the velocity with which half of the front arrives."""
    velocity = depth / np.interp(0.5, measured, predict.times)
    solution = least_squares(
        lambda parameters: np.asarray(linearised(predict, jnp.asarray(parameters))[0]) - measured,
        x0=[velocity, 0.05 * velocity],
        jac=lambda parameters: np.asarray(linearised(predict, jnp.asarray(parameters))[1]),
        bounds=(0.0, np.inf),
        x_scale="jac",
    )
    covariance = np.linalg.inv(solution.jac.T @ solution.jac) * np.sum(solution.fun**2) / (measured.size - 2)
    return Estimate(*solution.x, *np.sqrt(np.diagonal(covariance)), solution.fun)


# --8<-- [end:fit]
def read(folder: Path) -> dict[float, tuple[np.ndarray, np.ndarray]]:
    """Times and concentrations by depth; ends the program with what to get if the file is not there."""
    path = folder / CURVES
    if not path.is_file():
        sys.exit(
            f"column_tracer: there is no file {path}.\n"
            "It holds the breakthrough curves of figure 7-3a of the CXTFIT manual (repository hzhang4/cxtfit, file\n"
            "examples/input/FIG7-3A.IN) as a table with the columns depth_cm,time_as_given,c_over_c0.\n"
            "Put it there, or name the folder that holds column_tracer_cxtfit by --data DIR or in KRYLOVPDE_DATA."
        )
    with path.open(newline="") as file:
        lines = list(csv.DictReader(file))
    table = np.array([[float(line[name]) for name in ("depth_cm", "time_as_given", "c_over_c0")] for line in lines])
    parts = {depth: table[table[:, 0] == depth] for depth in np.unique(table[:, 0])}
    return {float(depth): (part[:, 1], part[:, 2]) for depth, part in parts.items()}


def main():
    """Fit every depth on every grid, print the tables, save the figure."""
    parser = argparse.ArgumentParser(description="Velocity and dispersion from breakthrough curves.")
    default = os.environ.get("KRYLOVPDE_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=Path(default), help="the folder that holds column_tracer_cxtfit")
    parser.add_argument("--widths", type=float, nargs="+", default=[0.08, 0.056, 0.04], help="of cells in cm, falling")
    parser.add_argument("--output", type=Path, default=Path("results/column_tracer.png"), help="the figure")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    curves = read(options.data)
    length = max(curves) + TAIL
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for number, (depth, (times, measured)) in enumerate(curves.items()):
        print(f"\ndepth {depth:g} cm\n{'cells':>12}{'Péclet':>8}{'velocity':>19}{'dispersion':>22}{'rmse':>10}")
        residual = np.zeros_like(measured)
        for width in options.widths:
            grid = kp.Grid(shape=(round(length / width),), lower=(0.0,), upper=(length,))
            column = Column(kp.Sensors(grid, list(curves)), jnp.asarray(number), jnp.asarray(times))
            estimate = fit(column, depth, measured)
            print(estimate.row(f"{width:g} cm", width))
            residual = estimate.residual
        print(fit(ClosedForm(jnp.asarray(depth), jnp.asarray(times)), depth, measured).row("closed form"))
        (points,) = axes.plot(times, measured, "o", markersize=4, label=f"measured at {depth:g} cm")
        axes.plot(times, measured + residual, color=points.get_color())
    axes.set(xlabel="time (unit of the data)", ylabel="concentration / inlet concentration")
    axes.legend()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.output, dpi=150)
    print(f"\nfigure: {options.output}")


if __name__ == "__main__":
    main()
