"""Conductivity and storage of an aquifer, from the drawdown that pumping makes in observation wells.

    S b s_t = (1/r) (r k b s_r)_r - s / c,     -2πr k b s_r = Q at the well,     s = 0 far away,     s = 0 before

A well pumps a constant Q from a layer of thickness b; the drawdown s is measured at distances r. Two measured tests:
Oude Korendijk (confined, 1/c = 0) and Texas Hill (leaky: water seeps in against a resistance c). Metres and days.

    python examples/pumping_tests.py [--data DIR] [--cells 400] [--output FILE]
"""

import functools
from pathlib import Path
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from measured import Estimate, arguments, existing, fit, save

import krylovpde as kp

ORIGIN, SIGMA = "the repository mbakker7/ttim, folder docs/03pumpingtests/data", 0.03  # m, of a drawdown


class PumpingTest(NamedTuple):
    """Files by distance, times per day, discharge Q in m³/d, thickness b in m, and where to begin."""

    files: dict[float, str]
    per_day: float
    discharge: float
    thickness: float
    start: dict[str, float]


PIEZOMETERS = {30.0: "piezometer_h30.txt", 90.0: "piezometer_h90.txt"}
KORENDIJK = PumpingTest(PIEZOMETERS, 1440.0, 788.0, 7.0, {"k": 55.7, "S": 1.7e-4})
TEXAS_WELLS = {12.191: "texas40.txt", 24.383: "texas80.txt", 48.766: "texas160.txt"}
TEXAS_HILL = PumpingTest(TEXAS_WELLS, 1.0, 24464.06, 15.24, {"k": 100.0, "S": 1e-4, "c": 100.0})
# The test, the wells whose data count, what was published.
CASES = {
    "Oude Korendijk": (KORENDIJK, [0, 1], "AQTESOLV k = 66.086, S = 2.541e-5, rmse 0.05006"),
    "Oude Korendijk, 30 m": (KORENDIJK, [0], "TTim k = 68.64, S = 1.607e-5, rmse 0.03166"),
    "Oude Korendijk, 90 m": (KORENDIJK, [1], "TTim k = 71.58, S = 2.911e-5, rmse 0.02272"),
    "Texas Hill": (TEXAS_HILL, [0, 1, 2], "AQTESOLV k = 224.726, S = 2.125e-4, c = 43.964, rmse 0.0596"),
}


# --8<-- [start:model]
class Aquifer(eqx.Module):
    """What is unknown: conductivity k (m/d), specific storage S (1/m) and, of a leaky one, resistance c (d)."""

    unknown: dict[str, kp.inverse.Positive]
    grid: kp.RadialGrid = eqx.field(static=True)
    discharge: float = eqx.field(static=True)
    thickness: float = eqx.field(static=True)

    def equation(self) -> kp.Diffusion:
        """Of the drawdown."""
        value = {name: parameter.value for name, parameter in self.unknown.items()}
        pumping = kp.Neumann(self.discharge / (2 * np.pi * self.grid.edges[0][0]))  # per metre of the well's wall
        return kp.Diffusion(
            self.grid,
            value["k"] * self.thickness,
            capacity=value["S"] * self.thickness,
            reaction_rate=-1.0 / value["c"] if "c" in value else 0.0,
            boundary=kp.Boundary(lower=pumping, upper=kp.Dirichlet()),
        )


# --8<-- [end:model]
def report(title: str, estimate: Estimate):
    """What was found; the numbers are stored as logarithms, so errors are relative."""
    print(f"\n{title}\n  {estimate.iterations} iterations, rmse {estimate.rmse:.5f} m")
    for number, (letter, parameter) in enumerate(estimate.model.unknown.items()):
        correlations = ", ".join(f"{c:5.2f}" for c in estimate.correlations[number])
        value, error = float(parameter.value), 100 * estimate.errors[number]
        print(f"  {letter} = {value:10.5g} ± {error:4.1f} %   correlations {correlations}")


def read(folder: Path, test: PumpingTest) -> tuple[np.ndarray, np.ndarray]:
    """All times in days, and the drawdowns at them, one column for each well: NaN where nothing was measured."""
    tables = [np.loadtxt(existing(Path(folder, "pumping_tests", name), ORIGIN)) for name in test.files.values()]
    times = np.unique(np.concatenate([table[:, 0] for table in tables]))
    drawdowns = np.full((times.size, len(tables)), np.nan)
    for column, table in zip(drawdowns.T, tables, strict=True):
        column[np.searchsorted(times, table[:, 0])] = -table[:, 1]
    return times / test.per_day, drawdowns


def main():
    """Fit each test, print the table, save the figure."""
    parser = arguments("pumping_tests", "Conductivity and storage from pumping tests.")
    parser.add_argument("--cells", type=int, default=400, help="of the grid")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    grid = kp.RadialGrid(np.geomspace(0.05, 2e4, options.cells + 1))
    figure, panels = plt.subplots(2, 2, figsize=(10, 7), layout="constrained")
    for axes, (name, (test, wells, published)) in zip(panels.flat, CASES.items(), strict=True):
        times, measured = read(options.data, test)
        counted = np.where(np.isin(np.arange(len(test.files)), wells), measured, np.nan)
        unknown = {letter: kp.inverse.Positive.from_value(value) for letter, value in test.start.items()}
        sensors = kp.Sensors(grid, [[distance] for distance in test.files])
        drawdown = functools.partial(kp.inverse.Experiment, jnp.zeros(grid.shape), observe=sensors)
        estimate = fit(drawdown(times), counted, SIGMA, Aquifer(unknown, grid, test.discharge, test.thickness))
        report(f"{name}: published {published}", estimate)
        curves = drawdown(smooth := np.geomspace(times[0], times[-1], 200))(estimate.model)
        for well, distance in enumerate(test.files):
            label = f"{distance:g} m" + ("" if well in wells else ", not used")
            (points,) = axes.semilogx(times, measured[:, well], "o", markersize=4, label=label)
            axes.semilogx(smooth, curves[:, well], color=points.get_color())
        axes.set(title=name, xlabel="time (d)", ylabel="drawdown (m)")
        axes.legend(title="distance")
    save(figure, options.output)


if __name__ == "__main__":
    main()
