"""A Gaussian process beside GPyTorch's, on the same data: time and error of the log-likelihood and its gradient.

    pip install gpytorch
    python -m examples.benchmarks.against_gpytorch [--cells 32]

Matérn's covariance of smoothness 3/2 on a square grid, at the hyperparameters that made the data; the reference is
Cholesky's factor. Errors are root mean squares over random keys, the gradient's in logarithms of length scale, variance
and noise. GPyTorch (github.com/cornellius-gp/gpytorch) runs its Cholesky path and its path of conjugate gradients and
stochastic Lanczos quadrature, with its pivoted Cholesky preconditioner of rank 15 (its default) and 100. Both use the
same cores, in double precision, compiled and warm.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import krylovpde as kp
from krylovpde.inverse import Positive

from ..gaussian_process import Hyperparameters, dense_log_likelihood

TRUTH = np.log([0.2, 1.3, 0.05])
REPEATS = 8


class Row(NamedTuple):
    """Of the table: median seconds, errors."""

    name: str
    seconds: float
    error: float
    gradient_error: float


def exact(grid: kp.Grid) -> Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
    """Value and gradient by Cholesky's factor."""

    def value(logarithms: jax.Array, data: jax.Array) -> jax.Array:
        return dense_log_likelihood(Hyperparameters(*map(Positive, logarithms)), grid, data)

    return jax.jit(jax.value_and_grad(value))


def ours(grid: kp.Grid, num_probes: int, consistent: bool) -> Callable:
    """Value and gradient by random probes."""

    def value(logarithms: jax.Array, data: jax.Array, key: jax.Array) -> jax.Array:
        process = Hyperparameters(*map(Positive, logarithms)).process(grid)
        options: Any = {"num_probes": num_probes, "consistent": consistent, "rtol": 1e-3, "max_dimension": 32}
        return process.log_marginal_likelihood(data, key, **options).value

    return eqx.filter_jit(jax.value_and_grad(value))


def theirs(
    grid: kp.Grid, data: np.ndarray, num_probes: int | None, rank: int = 15
) -> Callable[[int], tuple[float, np.ndarray]]:
    """Value and gradient by GPyTorch: by Cholesky's factor for `None` probes; `rank` is the preconditioner's."""
    import gpytorch  # pyright: ignore[reportMissingImports]
    import torch  # pyright: ignore[reportMissingImports]

    nodes = torch.tensor(np.stack([x.ravel() for x in grid.coordinates], axis=1), dtype=torch.float64)
    values = torch.tensor(np.ravel(data), dtype=torch.float64)

    class Process(gpytorch.models.ExactGP):
        """Zero mean, Matérn's covariance."""

        def __init__(self, likelihood: Any):
            super().__init__(nodes, values, likelihood)
            self.mean = gpytorch.means.ZeroMean()
            self.kernel = gpytorch.kernels.ScaleKernel(gpytorch.kernels.MaternKernel(nu=1.5))

        def forward(self, x: Any) -> Any:
            """The distribution of the field."""
            return gpytorch.distributions.MultivariateNormal(self.mean(x), self.kernel(x))

    likelihood = gpytorch.likelihoods.GaussianLikelihood()
    model = Process(likelihood).double()
    length_scale, variance, noise = np.exp(TRUTH)
    model.kernel.base_kernel.lengthscale, model.kernel.outputscale, likelihood.noise = length_scale, variance, noise
    numbers = [
        model.kernel.base_kernel.raw_lengthscale,
        model.kernel.raw_outputscale,
        likelihood.noise_covar.raw_noise,
    ]
    model.train()
    likelihood.train()
    marginal = gpytorch.mlls.ExactMarginalLogLikelihood(likelihood, model)
    # Derivatives in logarithms: GPyTorch's parameters are mapped by softplus (and a shift, for the noise).
    chain = [np.exp(log) / -np.expm1(-(np.exp(log) - shift)) for log, shift in zip(TRUTH, (0, 0, 1e-4), strict=True)]

    def evaluate(seed: int) -> tuple[float, np.ndarray]:
        torch.manual_seed(seed)
        model.zero_grad()
        size = 10**9 if num_probes is None else 1
        settings = gpytorch.settings
        with (
            warnings.catch_warnings(),
            settings.max_cholesky_size(size),
            settings.num_trace_samples(num_probes or 1),
            settings.cg_tolerance(1e-3),
            settings.max_cg_iterations(1000),
            settings.min_preconditioning_size(1),
            settings.max_preconditioner_size(rank),
        ):
            warnings.simplefilter("ignore")
            value = marginal(model(nodes), values) * values.numel()
            value.backward()
        raw = np.asarray([parameter.grad.item() for parameter in numbers])
        return value.item(), raw * np.asarray(chain)

    return evaluate


def median_seconds(function: Callable[[int], Any], repeats: int = REPEATS) -> float:
    """Of a call, after a first one."""
    function(0)
    times = []
    for seed in range(repeats):
        begin = time.perf_counter()
        jax.block_until_ready(function(seed))
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def main():
    """A table with one row for each method."""
    parser = argparse.ArgumentParser(description="Log-likelihoods beside GPyTorch's.")
    parser.add_argument("--cells", type=int, default=32, help="along each axis")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    grid = kp.Grid((options.cells,) * 2, (0.0, 0.0), (1.0, 1.0))
    point = jnp.asarray(TRUTH)
    truth = Hyperparameters(*map(Positive, point)).process(grid)
    field_key, noise_key = jax.random.split(jax.random.key(1))
    field = truth.sample(field_key, rtol=1e-6).value
    data = field + np.exp(TRUTH[2] / 2) * jax.random.normal(noise_key, grid.shape)
    by_factor = exact(grid)
    value, gradient = by_factor(point, data)
    print(f"{data.size} data, log p {float(value):.3f}, gradient {np.asarray(gradient).round(2)}")
    print(f"{'method':<44}{'time':>10}{'error':>10}{'of gradient':>13}")

    def row(name: str, function: Callable[[int], Any]) -> Row:
        seconds = median_seconds(function)
        found = [function(seed) for seed in range(REPEATS)]
        error = np.sqrt(np.mean([(float(v) - float(value)) ** 2 for v, _ in found]))
        off = np.sqrt(np.mean([np.sum((np.asarray(g) - np.asarray(gradient)) ** 2) for _, g in found]))
        print(f"{name:<44}{1e3 * seconds:>7.0f} ms{error:>10.2g}{off:>13.2g}", flush=True)
        return Row(name, seconds, float(error), float(off))

    row("Cholesky's factor in JAX", lambda _: by_factor(point, data))
    our_rows = []
    for num_probes, consistent in ((4, False), (16, False), (64, False), (16, True)):
        made = ours(grid, num_probes, consistent)
        name = f"krylovpde, {num_probes} probes{', consistent gradient' if consistent else ''}"
        our_rows.append(row(name, lambda seed, made=made: made(point, data, jax.random.key(seed))))
    row("GPyTorch, Cholesky's factor", theirs(grid, np.asarray(data), None))
    their_rows = [
        row(f"GPyTorch, {num_probes} probes, rank {rank}", theirs(grid, np.asarray(data), num_probes, rank))
        for num_probes, rank in ((10, 15), (64, 15), (256, 15), (64, 100))
    ]
    for other in their_rows:
        good = [one for one in our_rows if one.error <= other.error and one.gradient_error <= other.gradient_error]
        best = min(good, key=lambda one: one.seconds, default=None)
        if best is not None:
            print(f"{other.name}: {other.seconds / best.seconds:.0f} times the time of {best.name}, no less accurate")


if __name__ == "__main__":
    main()
