"""How fast ice conducts heat, from temperatures that were measured in a borehole through a winter.

    T_t = (κ T_z)_z,     T = the measured series at the top sensor and at 10 m,     T = the measured profile at t = 0

Eleven sensors in Rikha Samba glacier, Nepal, hourly (Gurung et al., in glenglat 2025). The diffusivity κ is fitted to
the sensors between the two whose series drive the column: one number, for three choices of the top sensor, and one for
each of three layers. The hole froze again until the first days of December: the fit begins after that. Metres, days.

    python examples/glacier.py [--data DIR] [--cell 0.1] [--hours 3] [--output FILE]
"""

from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from measured import arguments, existing, fit, save
from scipy.interpolate import PchipInterpolator

import krylovpde as kp

ORIGIN = "the repository mjacqu/glenglat, folder data/gurung2022-rikha-samba, as a table with one column for each depth"
BEGIN = np.datetime64("2014-12-06")
TO_SI = 1e6 / 86400.0  # from m²/d to 1e-6 m²/s
SIGMA = 0.05  # K
EVERY = 8  # of the samples is a datum: neighbours say nothing new
LAYERS = {"one layer": (), "three layers": (1.25, 3.0)}


# --8<-- [start:model]
class Ice(eqx.Module):
    """What is unknown: the diffusivity of each layer; the measured series at both ends drive the column."""

    diffusivity: kp.inverse.Positive
    top: kp.Sampled
    bottom: kp.Sampled
    grid: kp.Grid = eqx.field(static=True)
    interfaces: tuple[float, ...] = eqx.field(static=True)

    def equation(self) -> kp.Diffusion:
        """Of the temperature."""
        layer = np.searchsorted(self.interfaces, self.grid.coordinates[0])
        walls = kp.Boundary(lower=kp.Dirichlet(self.top), upper=kp.Dirichlet(self.bottom))
        return kp.Diffusion(self.grid, self.diffusivity.value[layer], boundary=walls)


# --8<-- [end:model]
def read(folder: Path, hours: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Depths, times in days from the beginning, and temperatures (times, depths), one sample in so many."""
    path = existing(Path(folder, "glacier_ice_temperature", "borehole_248_wide.csv"), ORIGIN)
    names = path.read_text().splitlines()[0].split(",")[1:]
    depths = np.array([float(name.removeprefix("T_").removesuffix("m_C")) for name in names])
    when = np.loadtxt(path, delimiter=",", skiprows=1, usecols=0, dtype="datetime64[s]")
    temperatures = np.loadtxt(path, delimiter=",", skiprows=1, usecols=range(1, depths.size + 1))
    kept = np.flatnonzero(when >= BEGIN)[::hours]
    return depths, (when[kept] - when[kept[0]]).astype(float) / 86400.0, temperatures[kept]


def case(depths, times, temperatures, top: float, cell: float, interfaces: tuple[float, ...]):
    """The model to begin with, the experiment, and the data; `trainable` is the diffusivity alone."""
    used = depths >= top
    depths, temperatures = depths[used], temperatures[:, used]
    grid = kp.Grid(shape=(round((depths[-1] - top) / cell),), lower=(top,), upper=(depths[-1],))
    # A monotone cubic: straight lines through sensors that lie 2 m apart are 3 % of the diffusivity.
    start = PchipInterpolator(depths, temperatures[0])(grid.coordinates[0])
    series = [kp.Sampled(times, temperatures[:, end]) for end in (0, -1)]
    diffusivity = kp.inverse.Positive.from_value(np.full(len(interfaces) + 1, 0.1))
    sensors = kp.Sensors(grid, depths[1:-1, None])
    options = {"rtol": 1e-5, "throw": False}  # a trial that fails is refused
    experiment = kp.inverse.Experiment(jnp.asarray(start), times[::EVERY], sensors, options=options)
    return Ice(diffusivity, *series, grid, interfaces), experiment, temperatures[::EVERY, 1:-1]


def main():
    """Fit for each top sensor and in layers, print the table, save the figure."""
    parser = arguments("glacier", "Diffusivity of ice from borehole temperatures.")
    parser.add_argument("--cell", type=float, default=0.1, help="its size in m")
    parser.add_argument("--hours", type=int, default=3, help="between the samples that are used")
    parser.add_argument("--tops", type=float, nargs="+", default=[0.3, 0.5, 1.0], help="depths of the top sensor")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    record = depths, times, _ = read(options.data, options.hours)
    figure, axes = plt.subplots(figsize=(9, 5), layout="constrained")
    for name, interfaces in LAYERS.items():
        for top in options.tops if not interfaces else options.tops[-1:]:
            ice, experiment, data = case(*record, top, options.cell, interfaces)
            only = eqx.tree_at(lambda ice: ice.diffusivity, jax.tree.map(lambda _: False, ice), replace=True)
            estimate = fit(experiment, data, SIGMA, ice, trainable=only)
            value = np.asarray(estimate.model.diffusivity.value) * TO_SI
            numbers = ", ".join(f"{v:.3f} ± {v * e:.3f}" for v, e in zip(value, estimate.errors, strict=True))
            print(f"top {top:g} m, {name}: {numbers} 1e-6 m²/s, rmse {estimate.rmse:.4f} K, ", end="")
            print(f"{estimate.iterations} iterations", flush=True)
            if top == options.tops[0]:
                for number, depth in enumerate(depths[depths > top][:-1]):
                    (line,) = axes.plot(times[::EVERY], data[:, number], ".", markersize=3, label=f"{depth:g} m")
                    axes.plot(times[::EVERY], estimate.prediction[:, number], color=line.get_color())
    axes.set(xlabel=f"days since {BEGIN}", ylabel="temperature (°C)")
    figure.legend(title="dots: measured", loc="outside right upper", markerscale=3)
    save(figure, options.output)


if __name__ == "__main__":
    main()
