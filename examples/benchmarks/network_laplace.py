"""How sure is a field that is a neural network? The linearised Laplace approximation beside a diagonal one.

    u_t = (k u_x)_x,     k(x) = 0.05 exp(network(x)),     u measured at eight sensors and four times

The weights have a normal prior; prior and noise are calibrated by the evidence. For seeds 1 to 3 (truth, noise and
network) the table has the mean log-likelihood of data that were not used, at other sensors and times, and how much of
the true field lies in the 95 % band: for the Gauss-Newton matrix of all weights, found by Lanczos, for its diagonal,
and for the estimate without any uncertainty of the model.

    python examples/benchmarks/network_laplace.py [--seeds 1 2 3] [--width 16] [--output FILE]
"""

import argparse
import json
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm

import krylovpde as kp

CELLS, SIGMA, TYPICAL = 48, 0.005, 0.05
TRAINING = (np.array([0.05, 0.1, 0.2, 0.4]), np.linspace(0.06, 0.62, 8))
TEST = (np.array([0.15, 0.3, 0.6]), np.linspace(0.02, 0.98, 17))  # a third of the rod has no sensor for training


class Rod(eqx.Module):
    """What is unknown: the diffusivity over a typical one, as a function of the position."""

    ratio: kp.inverse.Positive
    grid: kp.Grid = eqx.field(static=True)

    def equation(self) -> kp.Diffusion:
        """Of the temperature."""
        return kp.Diffusion(self.grid, TYPICAL * self.ratio.value)


def run(grid: kp.Grid, times: np.ndarray, places: np.ndarray) -> kp.inverse.Experiment:
    """Two warm parts of the rod spread."""
    x = jnp.asarray(grid.coordinates[0])
    start = jnp.exp(-((x - 0.25) ** 2) / 0.01) + jnp.exp(-((x - 0.75) ** 2) / 0.01)
    return kp.inverse.Experiment(start, times, kp.Sensors(grid, places[:, None]))


def truth_on(grid: kp.Grid, key: jax.Array) -> Rod:
    """Two waves of random phase."""
    x, (first, second) = jnp.asarray(grid.coordinates[0]), 2 * jnp.pi * jax.random.uniform(key, (2,))
    field = 0.6 * jnp.sin(2 * jnp.pi * x + first) + 0.3 * jnp.sin(4 * jnp.pi * x + second)
    return Rod(kp.inverse.Positive(field), grid)


def scores(posterior: kp.inverse.LaplacePosterior, test: kp.inverse.Experiment, truth: jax.Array) -> dict[str, float]:
    """Mean log-likelihood of the test data, and the part of the field in its band."""
    sigma = SIGMA / float(jnp.sqrt(posterior.noise_precision))
    found, field = posterior.predict(test, sigma=sigma), posterior.predict(lambda rod: rod.ratio.raw.value)
    return {
        "log_likelihood": float(jnp.mean(norm.logpdf(test.data, found.mean, found.standard_deviation))),
        "in_band": float(jnp.mean((field.lower < truth) & (truth < field.upper))),
        "log_evidence": float(posterior.log_evidence),
        "prior_precision": float(posterior.prior_precision),
        "noise_precision": float(posterior.noise_precision),
    }


def case(seed: int, width: int, rank: int) -> dict[str, dict[str, float]]:
    """One truth, one network: estimate, three answers."""
    truth_key, train_key, test_key, network_key, key = jax.random.split(jax.random.key(seed), 5)
    fine, grid = (kp.Grid((n,), 0.0, 1.0) for n in (2 * CELLS, CELLS))
    truth = truth_on(fine, truth_key)
    made = [
        run(grid, *what).with_measurements_of(run(fine, *what).synthesise(truth, noise=SIGMA, key=k))
        for what, k in ((TRAINING, train_key), (TEST, test_key))
    ]
    network = eqx.nn.MLP(1, "scalar", width, 2, jnp.tanh, key=network_key)
    start = Rod(kp.inverse.Positive(kp.inverse.NetworkField(network, grid)), grid)
    prior = kp.inverse.Gaussian(lambda rod: eqx.filter(rod.ratio.raw.network, eqx.is_inexact_array), 1.0)
    loss = kp.inverse.LeastSquares(made[0])
    fitted = kp.inverse.fit(loss + prior, start, kp.inverse.GaussNewton(), max_iterations=300, progress=None)
    full = kp.inverse.laplace_posterior(loss, prior, fitted.model, rank=rank, key=key)
    diagonal = kp.inverse.diagonal_laplace_posterior(loss, prior, fitted.model, key=key)
    actual = kp.Sensors(fine, grid.coordinates[0][:, None]).mv(truth.ratio.raw)
    answers = {"linearised": full.calibrated(), "diagonal": diagonal.calibrated()}
    found = {name: scores(posterior, made[1], actual) for name, posterior in answers.items()}
    estimate = made[1](fitted.model)
    found["estimate alone"] = {"log_likelihood": float(jnp.mean(norm.logpdf(made[1].data, estimate, SIGMA)))}
    return found


def main():
    """A table, and the same as JSON."""
    parser = argparse.ArgumentParser(description="Linearised Laplace approximations of a network field.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="of truth, noise and network")
    parser.add_argument("--width", type=int, default=16, help="of the network's two hidden layers")
    parser.add_argument("--rank", type=int, default=20, help="of the Gauss-Newton matrix")
    parser.add_argument("--output", type=Path, default=Path("results/network_laplace.json"), help="the report")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    rows = {}
    print(f"{'seed':>4} {'':<15}{'test log-likelihood':>20}{'field in band':>15}{'log evidence':>14}")
    for seed in options.seeds:
        rows[seed] = case(seed, options.width, options.rank)
        for name, row in rows[seed].items():
            rest = f"{100 * row['in_band']:13.0f} %{row['log_evidence']:14.1f}" if "in_band" in row else ""
            print(f"{seed:>4} {name:<15}{row['log_likelihood']:20.3f}{rest}", flush=True)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
