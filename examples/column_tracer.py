"""Velocity and dispersion in a sand column, from measured breakthrough curves.

    c_t + v c_z = D c_zz,     c = 1 at the inlet z = 0 from t = 0 on,     c = 0 before,    no gradient at the outlet

A tracer is fed into a column of sand; at three depths the concentration is measured while the front passes. Each
depth is fitted by itself: v and D with standard errors, on finer and finer grids, beside the fit of the closed form
for a column without end (Ogata and Banks 1961). Lengths are in cm; the data do not state their unit of time.

    python examples/column_tracer.py [--data DIR] [--cells 100 200 400] [--output FILE]
"""

import argparse
import csv
import os
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optimistix as optx
from jax.scipy.special import log_ndtr

import krylovpde as kp

ROOT = Path(__file__).resolve().parent.parent
CURVES = Path("column_tracer_cxtfit", "fig7_3a_step_breakthrough.csv")
TAIL = 4.0  # cm of column below the sensor: the closed form has no outlet, and this one must not be felt


class Transport(eqx.Module):
    """The unknowns: velocity (cm per unit of time) and dispersion coefficient (cm² per unit of time)."""

    velocity: kp.inverse.Positive
    dispersion: kp.inverse.Positive


class Column(eqx.Module):
    """Predicts the concentration at one depth: the partial differential equation on `num_cells` cells."""

    depth: float
    times: jax.Array
    num_cells: int

    def __call__(self, model: Transport) -> jax.Array:
        grid = kp.Grid(shape=(self.num_cells,), lower=(0.0,), upper=(self.depth + TAIL,))
        boundary = kp.Boundary(lower=kp.Dirichlet(1.0), upper=kp.Neumann())
        velocity, dispersion = model.velocity.value, model.dispersion.value
        equation = kp.AdvectionDiffusion(grid, dispersion, (velocity,), boundary=boundary)
        sensor = kp.Sensors(grid, np.array([[self.depth]]))
        return kp.solve(equation, jnp.zeros(grid.shape), self.times, observe=sensor).value[:, 0]

    def peclet(self, model: Transport) -> float:
        """The cell Péclet number `v h / D`: central differences follow the front well below about 2."""
        return float(model.velocity.value / model.dispersion.value) * (self.depth + TAIL) / self.num_cells


class ClosedForm(eqx.Module):
    """The same for a column without end: `½ [erfc((z - v t) / 2√(D t)) + exp(v z / D) erfc((z + v t) / 2√(D t))]`."""

    depth: float
    times: jax.Array

    def __call__(self, model: Transport) -> jax.Array:
        velocity, dispersion = model.velocity.value, model.dispersion.value
        width = jnp.sqrt(2 * dispersion * self.times)
        # As logarithms: the exponential overflows where the complementary error function vanishes.
        direct = log_ndtr((velocity * self.times - self.depth) / width)
        mirrored = velocity * self.depth / dispersion + log_ndtr(-(velocity * self.times + self.depth) / width)
        return jnp.exp(direct) + jnp.exp(mirrored)


def fit(predict, measured: jax.Array):
    """Least squares: the model, the standard errors of (v, D), and the root mean square of the residual."""
    arrival = jnp.interp(0.5, measured, predict.times)
    velocity = predict.depth / arrival
    start = Transport(
        kp.inverse.Positive.from_value(velocity), kp.inverse.Positive.from_value(0.01 * velocity * predict.depth)
    )
    loss = kp.inverse.LeastSquares(predict, measured, sigma=1.0)
    solver = optx.LevenbergMarquardt(rtol=1e-6, atol=1e-8)
    model = kp.inverse.fit(loss, start, solver, progress=None).model
    residual = loss.residual(model)
    variance = jnp.sum(residual**2) / (residual.size - 2)
    # J of the logarithms, by two Jacobian-vector products; the Gauss-Newton Hessian is JᵀJ.
    _, jvp = jax.linearize(loss.residual, model)
    columns = [jvp(jax.tree.unflatten(jax.tree.structure(model), unit)) for unit in jnp.eye(2)]
    covariance = variance * jnp.linalg.inv(jnp.stack(columns) @ jnp.stack(columns).T)
    relative = jnp.sqrt(jnp.diagonal(covariance))
    errors = relative * jnp.stack([model.velocity.value, model.dispersion.value])
    return model, errors, jnp.sqrt(jnp.mean(residual**2))


def read(folder: Path) -> dict[float, tuple[jax.Array, jax.Array]]:
    """Times and concentrations by depth; ends the program with what to get if the file is not there."""
    path = folder / CURVES
    if not path.is_file():
        sys.exit(
            f"column_tracer: there is no file {path}.\n"
            "It holds the breakthrough curves of figure 7-3a of the CXTFIT manual (repository hzhang4/cxtfit, file\n"
            "examples/input/FIG7-3A.IN) as a table with the columns depth_cm,time_as_given,c_over_c0.\n"
            "Put it there, or name the folder that holds column_tracer_cxtfit by --data DIR or in KRYLOVPDE_DATA."
        )
    columns = ("depth_cm", "time_as_given", "c_over_c0")
    with path.open(newline="") as file:
        rows = [tuple(float(line[name]) for name in columns) for line in csv.DictReader(file)]
    table = np.array(sorted(rows))
    depths = {depth: table[table[:, 0] == depth] for depth in np.unique(table[:, 0])}
    return {float(depth): (jnp.asarray(part[:, 1]), jnp.asarray(part[:, 2])) for depth, part in depths.items()}


def row(name: str, model: Transport, errors, rmse, peclet: float | None = None) -> str:
    """One line of the table."""
    v, dispersion = float(model.velocity.value), float(model.dispersion.value)
    cell = "" if peclet is None else f"{peclet:8.2f}"
    return f"{name:>16}{cell:>8}{v:11.4f} ± {errors[0]:.4f}{dispersion:12.5f} ± {errors[1]:.5f}{rmse:11.5f}"


def main(arguments: list[str] | None = None) -> dict[float, tuple[Transport, Transport]]:
    """Fit every depth, print the tables, save the figure; returns the finest and the closed-form fit by depth."""
    parser = argparse.ArgumentParser(description="Velocity and dispersion from breakthrough curves.")
    default = os.environ.get("KRYLOVPDE_DATA") or ROOT.parent / "shared" / "data"
    parser.add_argument("--data", type=Path, default=Path(default), help="the folder that holds column_tracer_cxtfit/")
    parser.add_argument("--cells", type=int, nargs="+", default=[200, 400, 800], help="numbers of cells, increasing")
    parser.add_argument("--output", type=Path, default=Path("results/column_tracer.png"), help="the figure")
    options = parser.parse_args(arguments)
    jax.config.update("jax_enable_x64", True)
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    fits = {}
    for depth, (times, measured) in read(options.data).items():
        print(f"\ndepth {depth:g} cm\n{'cells':>16}{'Péclet':>8}{'velocity':>20}{'dispersion':>22}{'rmse':>11}")
        columns = [Column(depth, times, num_cells) for num_cells in options.cells]
        studies = [fit(column, measured) for column in columns]
        for column, study in zip(columns, studies, strict=True):
            print(row(str(column.num_cells), *study, peclet=column.peclet(study[0])))
        closed_form = fit(ClosedForm(depth, times), measured)
        print(row("closed form", *closed_form))
        fits[depth] = (studies[-1][0], closed_form[0])
        dense = jnp.linspace(times[0], times[-1], 200)
        (points,) = axes.plot(times, measured, "o", markersize=4, label=f"measured at {depth:g} cm")
        axes.plot(dense, Column(depth, dense, columns[-1].num_cells)(fits[depth][0]), color=points.get_color())
    axes.set(xlabel="time (unit of the data)", ylabel="concentration / inlet concentration")
    axes.legend()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.output, dpi=150)
    print(f"\nfigure: {options.output}")
    return fits


if __name__ == "__main__":
    main()
