"""How long, how large, how noisy: the hyperparameters of a Gaussian process from noisy data at the nodes of a grid.

    python examples/gaussian_process.py --cells 96 --output gaussian_process.png

The marginal likelihood is maximised over length scale, variance and noise; then the field and its uncertainty follow.
`--cells 320` is 102400 data; `--dense` compares with Cholesky's factor (up to some thousand data).
"""

import argparse
import resource
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import krylovpde as kp
from krylovpde.functions import MaternCovariance
from krylovpde.inverse import LBFGS, GaussianProcess, Positive, fit
from krylovpde.plot import field, figure

jax.config.update("jax_enable_x64", True)

TRUTH = {"length scale": 0.1, "variance": 1.0, "noise": 0.1}


class Hyperparameters(eqx.Module):
    """What data choose."""

    length_scale: Positive
    variance: Positive
    noise: Positive

    @classmethod
    def start(cls) -> "Hyperparameters":
        """Too long, too large, too quiet."""
        return cls(*(Positive.from_value(x) for x in (0.2, 2.0, 0.05)))

    def process(self, grid: kp.Grid) -> GaussianProcess:
        """The process that they describe."""
        covariance = MaternCovariance(grid, self.length_scale.value, self.variance.value, smoothness=1.5)
        return GaussianProcess(covariance, self.noise.value)

    def values(self) -> list[float]:
        """As numbers."""
        return [float(x.value) for x in (self.length_scale, self.variance, self.noise)]


def dense_log_likelihood(model: Hyperparameters, grid: kp.Grid, data: jax.Array) -> jax.Array:
    """By Cholesky's factor of the matrix."""
    nodes = np.stack([np.ravel(x) for x in grid.coordinates], axis=1)
    scaled = np.sqrt(3.0) * np.linalg.norm(nodes[:, None] - nodes[None, :], axis=2) / model.length_scale.value
    matrix = model.variance.value * (1 + scaled) * jnp.exp(-scaled) + model.noise.value * jnp.eye(data.size)
    factor = jnp.linalg.cholesky(matrix)
    white = jax.scipy.linalg.solve_triangular(factor, data.ravel(), lower=True)
    return -0.5 * jnp.vdot(white, white) - jnp.sum(jnp.log(jnp.diag(factor))) - 0.5 * data.size * np.log(2 * np.pi)


def choose(loss, label: str) -> Hyperparameters:
    """The minimum of a loss, with a table row."""
    begin = time.perf_counter()
    result = fit(loss, Hyperparameters.start(), LBFGS(first_step=0.5, rtol=1e-9), max_iterations=30, progress=None)
    numbers = "".join(f"{x:10.4f}" for x in result.model.values())
    print(f"{label:<12}{numbers}  {len(result.history) - 1:3d} iterations, {time.perf_counter() - begin:.0f} s")
    return result.model


def main():
    """Make data, choose, print, draw."""
    parser = argparse.ArgumentParser(description="Hyperparameters of a Gaussian process.")
    parser.add_argument("--output", default="gaussian_process.png", help="where the figure goes")
    parser.add_argument("--cells", type=int, default=96, help="along each axis")
    parser.add_argument("--probes", type=int, default=16, help="for the log-determinant")
    parser.add_argument("--dense", action="store_true", help="compare with Cholesky's factor")
    options = parser.parse_args()
    grid, keys = kp.Grid((options.cells,) * 2, (0.0, 0.0), (1.0, 1.0)), jax.random.split(jax.random.key(1), 4)
    truth = Hyperparameters(*map(Positive.from_value, TRUTH.values()))
    clean = truth.process(grid).sample(keys[0], rtol=1e-3).value
    data = clean + jnp.sqrt(TRUTH["noise"]) * jax.random.normal(keys[1], grid.shape)

    def log_likelihood(model: Hyperparameters):
        settings = {"num_probes": options.probes, "rtol": 1e-3, "max_dimension": 64}
        return model.process(grid).log_marginal_likelihood(data, keys[2], **settings)

    print(f"{data.size} data{'':<4}{''.join(f'{name:>14}' for name in TRUTH)}")
    print(f"{'truth':<12}{''.join(f'{x:10.4f}' for x in TRUTH.values())}")
    model = choose(lambda model: -log_likelihood(model).value / data.size, "chosen")
    found = log_likelihood(model)
    print(f"log p {float(found.value):.2f} ± {float(found.standard_error):.2f}, dimension {int(found.dimension)}")
    if options.dense:
        print(f"dense log p {float(dense_log_likelihood(model, grid, data)):.2f}")
        choose(lambda model: -dense_log_likelihood(model, grid, data) / data.size, "dense")

    process = model.process(grid)
    mean = process.posterior_mean(data, rtol=1e-3).value
    draws = jnp.stack([process.sample(key, data, rtol=1e-3).value for key in jax.random.split(keys[3], 32)])
    spread = jnp.sqrt(jnp.mean((draws - mean) ** 2, axis=0))
    errors = [float(jnp.sqrt(jnp.mean(x**2))) for x in (mean - clean, spread)]
    print(f"error of the mean {errors[0]:.3f}, its standard deviation by 32 samples {errors[1]:.3f}")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")
    shown, axes = figure(2, 2, size=(8.5, 7.4))
    parts = {"field": clean, "data": data, "posterior mean": mean, "posterior standard deviation": spread}
    for place, (title, values) in zip(np.ravel(axes), parts.items(), strict=True):
        shown.colorbar(field(place, grid, values, title=title), ax=place)
    shown.savefig(options.output, dpi=150)


if __name__ == "__main__":
    main()
