"""From data with outliers to a field, and how to see whether to believe it: robust loss, weight, residuals, figures.

    u_t = div(k(x, y) grad u),     no flux through the walls

Two warm spots cool down on a plate, 36 sensors watch, and one reading in thirty is nonsense. Least squares believes
it, Huber's loss does not; the L-curve and cross-validation choose the weight of a smooth prior.

    python examples/toolkit.py [--cells 16] [--output results/toolkit.png]
"""

import argparse
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import krylovpde as kp
from krylovpde import plot

SIGMA, OUTLIERS = 0.01, 0.3  # of the noise, and of a reading that is nonsense
WEIGHTS = np.geomspace(1e3, 1e-2, 6)


# --8<-- [start:model]
class Plate(eqx.Module):
    """What is unknown: the diffusivity, a positive field."""

    diffusivity: kp.inverse.Positive
    grid: kp.Grid = eqx.field(static=True)

    def equation(self) -> kp.Diffusion:
        """Of the temperature."""
        return kp.Diffusion(self.grid, self.diffusivity.value)


def log_diffusivity(plate: Plate) -> jax.Array:
    """The field that is to be smooth."""
    return jnp.log(plate.diffusivity.value)


# --8<-- [end:model]
def true_field(grid: kp.Grid) -> jax.Array:
    """A good conductor in one corner, a bad one in the other."""
    x, y = map(jnp.asarray, grid.coordinates)
    blobs = [jnp.exp(-((x - a) ** 2 + (y - b) ** 2) / 0.03) for a, b in ((0.3, 0.35), (0.7, 0.65))]
    return jnp.exp(blobs[0] - blobs[1])


def experiments(grid: kp.Grid) -> kp.inverse.Experiments:
    """Two warm spots, one after the other, seen by 36 sensors at eight times."""
    x, y = map(jnp.asarray, grid.coordinates)
    spots = [jnp.exp(-((x - a) ** 2 + (y - b) ** 2) / 0.02) for a, b in ((0.5, 0.2), (0.5, 0.8))]
    places = np.linspace(0.1, 0.9, 6)
    sensors = kp.Sensors(grid, [(a, b) for a in places for b in places])
    return kp.inverse.Experiments(kp.inverse.Experiment(jnp.stack(spots), jnp.linspace(0.01, 0.08, 8), sensors))


def measure(cells: int) -> np.ndarray:
    """Data made on a grid of its own, with noise and nonsense."""
    grid = kp.Grid((cells * 3 // 2,) * 2, (0.0, 0.0), (1.0, 1.0))
    truth = Plate(kp.inverse.Positive.from_value(true_field(grid)), grid)
    random = np.random.default_rng(0)
    data = np.asarray(experiments(grid)(truth))
    nonsense = random.random(data.shape) < 1 / 30
    return data + np.where(nonsense, OUTLIERS, SIGMA) * random.normal(size=data.shape)


def main():
    """Two rules with least squares, two with Huber's loss; a table, a report and one figure."""
    parser = argparse.ArgumentParser(description="Robust loss, choice of the weight, residuals, figures.")
    parser.add_argument("--cells", type=int, default=16, help="along each side")
    parser.add_argument("--output", type=Path, default=Path("results/toolkit.png"))
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    grid = kp.Grid((options.cells,) * 2, (0.0, 0.0), (1.0, 1.0))
    data, truth, predict = measure(options.cells), true_field(grid), experiments(grid)
    start = Plate(kp.inverse.Positive.from_value(jnp.ones(grid.shape)), grid)
    penalty = kp.inverse.Tikhonov(grid, log_diffusivity, weight=1.0)
    losses = {kind.__name__: kind(predict, data, SIGMA) for kind in (kp.inverse.LeastSquares, kp.inverse.Huber)}
    rules = {"L-curve": kp.inverse.LCurve(WEIGHTS), "GCV": kp.inverse.GCV(WEIGHTS)}
    optimiser = kp.inverse.GaussNewton(rtol=1e-4, max_cg_steps=20)
    chosen = {}
    print(f"{'loss':>14}{'rule':>14}{'weight':>12}{'error of the field':>22}")
    for name, loss in losses.items():
        for rule, search in rules.items():
            found = kp.inverse.choose_weight(loss, penalty, start, optimiser, search, tell=None, max_iterations=20)
            chosen[name, rule] = found
            error = grid.norm(found.model.diffusivity.value - truth) / grid.norm(truth)
            print(f"{name:>14}{rule:>14}{found.weight:12.2e}{100 * error:20.1f} %", flush=True)
    best = chosen["Huber", "L-curve"]
    print(kp.inverse.residual_report(losses["Huber"], best.model))
    figure, axes = plot.figure(2, 4, size=(15.0, 7.0))
    fields = (truth, start.diffusivity.value, best.model.diffusivity.value)
    plot.triptych(axes[0], grid, *fields, label="diffusivity")
    prediction = np.asarray(predict(best.model))
    plot.data_fit(axes[1, 0], np.linspace(0.01, 0.08, 8), data[0, :, ::12], {"Huber": prediction[0, :, ::12]})
    plot.residual_histogram(axes[1, 1], (prediction - data) / SIGMA)
    plot.l_curve(axes[1, 2], best)
    plot.weight_criterion(axes[1, 3], chosen["Huber", "GCV"])
    options.output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.output, dpi=130)
    print(f"\nfigure: {options.output}")


if __name__ == "__main__":
    main()
