"""How sure is a field that was estimated from sensors? Standard deviations, samples, and a band around a prediction.

    u_t = div(k grad u),     log k of a Gaussian prior,     u measured at 16 sensors and 4 times

The diffusivity k of a plate is estimated from how two heaps of heat spread. The posterior's normal approximation is the
prior less what the data say, and they say little: some twenty combinations of the unknowns.

    python examples/uncertain_field.py [--cells 24] [--rank 40] [--output FILE]
"""

import argparse
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import krylovpde as kp
from krylovpde.plot import field, figure

SIGMA = 0.003  # of a measurement, where the heaps are 1 high
TIMES = np.array([0.2, 0.4, 0.8, 1.2])
PLACES = np.stack(np.meshgrid(*[[0.125, 0.375, 0.625, 0.875]] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
UNSEEN = [[0.5, 0.5]]  # where the prediction is for: between the sensors


# --8<-- [start:model]
class Plate(eqx.Module):
    """What is unknown: the logarithm of the diffusivity."""

    diffusivity: kp.inverse.Positive
    grid: kp.Grid = eqx.field(static=True)

    def equation(self) -> kp.Diffusion:
        """Of the temperature."""
        return kp.Diffusion(self.grid, self.diffusivity.value)


def prior_on(grid: kp.Grid) -> kp.inverse.BiLaplacian:
    """The diffusivity is about 0.05, up to a factor of two, and varies over a third of the plate."""

    def make(**options) -> kp.inverse.BiLaplacian:
        return kp.inverse.BiLaplacian(grid, lambda plate: plate.diffusivity.raw, 0.7, 0.35, np.log(0.05), **options)

    return make(boundary=make().absorbing_walls())


# --8<-- [end:model]
def run(grid: kp.Grid, times: np.ndarray, places: list | np.ndarray) -> kp.inverse.Experiment:
    """Two heaps spread; sensors watch."""
    x, y = map(jnp.asarray, grid.coordinates)
    heaps = [jnp.exp(-((x - a) ** 2 + (y - b) ** 2) / 0.02) for a, b in ((0.3, 0.35), (0.7, 0.7))]
    return kp.inverse.Experiment(heaps[0] + heaps[1], times, kp.Sensors(grid, places))


def plate_on(grid: kp.Grid, key: jax.Array | None = None) -> Plate:
    """A plate of the prior, or its mean."""
    raw = jnp.full(grid.shape, np.log(0.05)) if key is None else prior_on(grid).sample(key)
    return Plate(kp.inverse.Positive(raw), grid)


def main():
    """Make data, estimate, ask how sure; print and draw."""
    parser = argparse.ArgumentParser(description="How sure is an estimated field?")
    parser.add_argument("--cells", type=int, default=24, help="along each side")
    parser.add_argument("--rank", type=int, default=40, help="the most directions that the data may know")
    parser.add_argument("--output", type=Path, default=Path("results/uncertain_field.png"), help="the figure")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    truth_key, noise_key, key = jax.random.split(jax.random.key(2), 3)
    fine, grid = (kp.Grid((n, n), (0.0, 0.0), (1.0, 1.0)) for n in (3 * options.cells // 2, options.cells))
    truth = plate_on(fine, truth_key)
    measured = run(fine, TIMES, PLACES).synthesise(truth, noise=SIGMA, key=noise_key)
    # --8<-- [start:posterior]
    loss = kp.inverse.LeastSquares(run(grid, TIMES, PLACES).with_measurements_of(measured))
    prior = prior_on(grid)
    estimate = kp.inverse.fit(loss + prior, plate_on(grid), kp.inverse.GaussNewton()).model
    posterior = kp.inverse.laplace_posterior(loss, prior, estimate, rank=options.rank, key=key)
    deviation = jnp.sqrt(posterior.variance.diffusivity.raw)
    samples = [posterior.sample(k).diffusivity.raw for k in jax.random.split(key)]
    later = np.linspace(0.05, 3.0, 25)
    band = posterior.predict(run(grid, later, UNSEEN), key=key, count=100)
    # --8<-- [end:posterior]
    spectrum = np.asarray(posterior.curvature.spectrum)
    actual = kp.Sensors(fine, np.stack([x.ravel() for x in grid.coordinates], axis=1)).mv(truth.diffusivity.raw)
    away = np.abs(actual.reshape(grid.shape) - estimate.diffusivity.raw) / deviation
    print(f"{np.sum(spectrum > 1)} of {posterior.size} directions are known better from the data than before")
    print(f"largest eigenvalues {np.array2string(spectrum[:5], precision=3)}; left out {posterior.truncation:.1e}")
    print(f"standard deviation of log k: {deviation.min():.2f} to {deviation.max():.2f}, before 0.7")
    print(f"truth within two standard deviations: {100 * np.mean(away < 2):.0f} % of the plate")
    print(f"log evidence {posterior.log_evidence:.1f}")

    shown, axes = figure(2, 3, size=(11, 6.5))
    log_truth, drawn = kp.inverse.value_of(truth.diffusivity.raw), None
    limits = (float(log_truth.min()), float(log_truth.max()))
    titles = ["truth: log k", "estimate", "a sample", "another"]
    fields = [log_truth, estimate.diffusivity.raw, *samples]
    for place, title, values in zip(np.ravel(axes)[[0, 1, 3, 4]], titles, fields, strict=True):
        drawn = field(place, fine if title.startswith("truth") else grid, values, title=title, limits=limits)
    shown.colorbar(drawn, ax=axes[:, 1])
    spread = field(axes[0, 2], grid, deviation, title="standard deviation")
    shown.colorbar(spread, ax=axes[0, 2])
    axes[0, 2].plot(*PLACES.T, "w.", markersize=4)
    axes[1, 2].fill_between(later, band.lower[:, 0], band.upper[:, 0], alpha=0.3, label="95 % band")
    axes[1, 2].plot(later, band.mean[:, 0], label="mean of the samples")
    axes[1, 2].plot(later, run(fine, later, UNSEEN)(truth)[:, 0], "k--", label="truth")
    axes[1, 2].set(xlabel="time", ylabel="temperature", title="between the sensors, up to t = 3")
    axes[1, 2].legend(loc="upper right", fontsize=8)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    shown.savefig(options.output, dpi=150)


if __name__ == "__main__":
    main()
