"""How fast cells move and divide, from densities while they close a scratch: two models of it compared.

    Fisher-KPP:      u_t = D u_xx         + r u (1 - u/K)
    Porous-Fisher:   u_t = D (u/K u_x)_x  + r u (1 - u/K),       no flux at both ends

A layer of cancer cells (PC-3) is scratched, and the density is counted every 12 hours over two days, for six densities
at the beginning (Jin et al. 2016). D and r are fitted for each with intervals; Akaike's criterion compares the models,
and asks whether one D and r serve all six. The state at t = 0 is the measured one. Micrometres, hours, cells/mm².

    python examples/scratch_assay.py [--data DIR] [--output FILE] [--models Fisher-KPP Porous-Fisher]
"""

from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from measured import Estimate, arguments, existing, fit, save

import krylovpde as kp

ORIGIN = "the repository DanielVandH/EquationLearning.jl, folder VandenHeuvel2022_PaperCode/data"
SEEDINGS = (10, 12, 14, 16, 18, 20)  # thousand cells in a well
CAPACITY, SIGMA = 1700.0, 100.0  # K, as estimated by Jin et al.; of a density
MODELS = {"Fisher-KPP": "-", "Porous-Fisher": ":"}  # with the style of their lines
GRID = kp.Grid(shape=(37,), lower=(50.0,), upper=(1900.0,))  # a cell around each place of the data


# --8<-- [start:model]
class Cells(eqx.Module):
    """What is unknown: the diffusivity D (µm²/h) and the rate of division r (1/h)."""

    diffusivity: kp.inverse.Positive
    rate: kp.inverse.Positive
    porous: bool = eqx.field(static=True)

    def equation(self) -> kp.AbstractEquation:
        """Of the density."""

        def division(_t, _x, u):
            return self.rate.value * u * (1.0 - u / CAPACITY)

        if self.porous:
            factor = jnp.broadcast_to(self.diffusivity.value, GRID.shape)
            return kp.NonlinearDiffusion(GRID, lambda u: u / CAPACITY, factor=factor, reaction=division)
        return kp.ReactionDiffusion(GRID, self.diffusivity.value, division)


class Assays(eqx.Module):
    """Densities at all times (but the first) of all assays, each from its own measured start."""

    starts: jax.Array
    times: jax.Array

    def __call__(self, cells: Cells) -> jax.Array:
        # Direct solves for the linear flows, where there are any; cells of 50 µm are not stiff without, either.
        method = kp.ETDRK4() if cells.porous else kp.ETDRK4(kp.Contour())
        equation, options = cells.equation(), {"method": method, "rtol": 1e-5}
        return jax.vmap(lambda start: kp.solve(equation, start, self.times, **options).value)(self.starts)


# --8<-- [end:model]
def read(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Times, and mean densities of shape (seedings, times, places) without the place beside the wall."""
    names = [Path(folder, "scratch_assay_pc3", f"CellDensity_{seeding}.csv") for seeding in SEEDINGS]
    paths = [existing(name, ORIGIN) for name in names]
    tables = [np.genfromtxt(path, delimiter=",", names=True, encoding="utf-8-sig") for path in paths]
    densities = [1e6 * table["AvgDens"].reshape(5, 38)[:, 1:] for table in tables]
    return np.unique(tables[0]["Time"]), np.stack(densities)


def interval(estimate: Estimate, number: int) -> str:
    """The value and its 95 % interval, from the standard error of the logarithm."""
    parameter = (estimate.model.diffusivity, estimate.model.rate)[number]
    value, factor = float(parameter.value), np.exp(1.96 * estimate.errors[number])
    return f"{value:8.4g} [{value / factor:.4g}, {value * factor:.4g}]"


def report(name: str, estimate: Estimate, count: int) -> float:
    """A line of the table; Akaike's criterion for two unknowns and the size of Gaussian errors."""
    criterion = 2 * count * np.log(estimate.rmse) + 2 * 3
    row = f"{name:>8}  {interval(estimate, 0):<30}{interval(estimate, 1):<30}{estimate.rmse:6.1f}"
    print(f"{row}{criterion:9.1f}{estimate.iterations:12}", flush=True)
    return criterion


def main():
    """Fit each seeding with both models, all of them together, print the table, save the figure."""
    parser = arguments("scratch_assay", "Movement and division of cells from a scratch assay.")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    times, densities = read(options.data)
    figure, panels = plt.subplots(2, 3, figsize=(12, 6.5), layout="constrained", sharex=True, sharey=True)
    for name in options.models:
        print(f"\n{name}\n{'seeding':>8}  {'D in µm²/h':<30}{'r in 1/h':<30}{'rmse':>6}{'AIC':>9}{'iterations':>12}")
        start = Cells(*map(kp.inverse.Positive.from_value, (500.0, 0.05)), porous=name == "Porous-Fisher")
        total = 0.0
        for axes, seeding, assay in zip(panels.flat, SEEDINGS, densities, strict=True):
            estimate = fit(Assays(jnp.asarray(assay[None, 0]), times[1:]), assay[None, 1:], SIGMA, start)
            total += report(str(seeding), estimate, assay[1:].size)
            axes.set_title(f"{seeding} thousand cells")
            for number, time in enumerate(times[1:]):
                axes.plot(*GRID.coordinates, estimate.prediction[0, number], MODELS[name], color=f"C{number}")
                if name == options.models[0]:
                    axes.plot(*GRID.coordinates, assay[number + 1], ".", color=f"C{number}", label=f"{time:g} h")
        joint = fit(Assays(jnp.asarray(densities[:, 0]), times[1:]), densities[:, 1:], SIGMA, start)
        report("all", joint, densities[:, 1:].size)
        print(f"{'':>10}AIC of the six fits together {total:.1f}")
    panels[0, 0].legend(title="dots: measured")
    figure.supxlabel("position (µm)")
    figure.supylabel("density (cells/mm²)")
    save(figure, options.output)


if __name__ == "__main__":
    main()
