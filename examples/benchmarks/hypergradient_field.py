"""Which sensors to trust: a diffusivity field on a grid, with a prior as inner product.

A heap spreads through a field of diffusivity that varies fivefold; 25 sensors see it at 4 times, of which 5 err twenty
times more than is thought. A second experiment, with 16 good sensors and another start, validates. The inner loss is
the misfit of the data plus `weight` times a `BiLaplacian` prior; its hyperparameters are the standard deviation of each
sensor and the weight, learnt as logarithms by Adam.

The nonlinear fit is made once, with what is thought of the sensors. Both experiments are then linearised there: 100 and
64 rows of a Jacobian, one product with the transpose each, so that every outer step minimises its inner loss exactly,
and methods differ by their hypergradients alone. In coordinates of the prior the Hessian is that of the data, of low
rank, plus `weight` times the identity.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float

import krylovpde as kp
from krylovpde.inverse import (
    AbstractInverse,
    BiLaplacian,
    CameronMartin,
    Experiment,
    GaussNewton,
    GaussNewtonHessian,
    LeastSquares,
    LowRankInverse,
    Nystrom,
    Positive,
    fit,
    hypergradient,
    low_rank_inverse,
)

SIGMA, MEAN = 0.003, np.log(0.05)
BROKEN = (3, 8, 12, 16, 21)


class Aquifer(eqx.Module):
    """Diffusion with an unknown diffusivity."""

    diffusivity: Positive
    grid: kp.Grid = eqx.field(static=True)

    def equation(self):
        """For the experiments."""
        return kp.Diffusion(self.grid, self.diffusivity.value)


class Linear(eqx.Module):
    """The prediction of a logarithm of the diffusivity, to first order."""

    value: Float[Array, "times sensors"]
    jacobian: Float[Array, "data cells"]
    at: Float[Array, "nx ny"]

    def __call__(self, field: Float[Array, "nx ny"]) -> Float[Array, "times sensors"]:
        """What the sensors see."""
        return self.value + (self.jacobian @ (field - self.at).ravel()).reshape(self.value.shape)


class Problem(NamedTuple):
    """Inner and outer loss, the prior's inner product, the truth, and the Jacobian in the prior's coordinates."""

    inner: Any
    outer: LeastSquares
    product: CameronMartin
    truth: Array
    whitened: Float[Array, "data cells"]


def problem(cells: int, seed: int) -> Problem:
    """Fit, then linearise; the seed is that of the noise."""
    grid = kp.Grid((cells, cells), (0.0, 0.0), (1.0, 1.0))
    x, y = map(jnp.asarray, grid.coordinates)
    heaps = [jnp.exp(-((x - a) ** 2 + (y - b) ** 2) / 0.02) for a, b in ((0.3, 0.35), (0.7, 0.7))]
    times = jnp.asarray([0.25, 0.5, 1.0, 1.5])
    train = Experiment(heaps[0] + heaps[1], times, observe=kp.Sensors(grid, _lattice(5)))
    validate = Experiment(1.0 + heaps[0] - heaps[1], times, observe=kp.Sensors(grid, _lattice(4)))
    truth = MEAN + 0.8 * jnp.sin(2 * jnp.pi * x) * jnp.cos(jnp.pi * y)
    noise_key, other_key = jr.split(jr.key(seed))
    sigma = jnp.full(25, SIGMA).at[jnp.asarray(BROKEN)].mul(20.0)
    right = Aquifer(Positive(truth), grid)
    data = train(right) + sigma * jr.normal(noise_key, (4, 25))
    held_out = validate(right) + SIGMA * jr.normal(other_key, (4, 16))
    prior = BiLaplacian(grid, lambda model: model.diffusivity.raw, 0.6, 0.5, MEAN)
    product = CameronMartin(prior)
    start = Aquifer(Positive(jnp.full(grid.shape, MEAN)), grid)
    method = GaussNewton(rtol=1e-4, preconditioner=lambda gradient: jax.tree.map(product.riesz, gradient))
    fitted = fit(LeastSquares(train, data, SIGMA) + prior, start, method, max_iterations=15, progress=None).model
    at = fitted.diffusivity.raw
    linear = [_linearised(experiment, at, grid) for experiment in (train, validate)]
    # The same prior, of a field instead of a model, with a weight that can be learnt.
    own = BiLaplacian(grid, lambda field: field, 0.6, 0.5, MEAN, weight=jnp.ones(()))
    inner = LeastSquares(linear[0], data, jnp.full(25, SIGMA)) + own
    transposed = jax.linear_transpose(product.factor, at)
    whitened = jax.vmap(lambda row: transposed(row.reshape(grid.shape))[0].ravel())(linear[0].jacobian)
    return Problem(inner, LeastSquares(linear[1], held_out, SIGMA), product, truth, whitened)


def minimise(at: Problem, inner: Any) -> Float[Array, "nx ny"]:
    """The field of least loss, by a solve as large as the data: `y = Bᵀ (B Bᵀ + weight Σ)⁻¹ (data - prediction)`."""
    data, prior = inner.terms
    sigma = jnp.broadcast_to(data.sigma, data.data.shape).ravel()
    mean = jnp.full(at.truth.shape, MEAN)
    gap = (data.data - data.predict(mean)).ravel()
    gram = at.whitened @ at.whitened.T + prior.weight * jnp.diag(sigma**2)
    return mean + at.product.factor((at.whitened.T @ jnp.linalg.solve(gram, gap)).reshape(mean.shape))


class Run(NamedTuple):
    """Of each outer step: validation loss per datum, error of the hypergradient, error of the field; final sigmas."""

    outer: Array
    error: Array
    field: Array
    sigma: Array


def train(at: Problem, method: AbstractInverse | None, steps: int = 60, keep: int = 1, shift: Any = jnp.nan) -> Run:
    """Learn with hypergradients by a method, whose shift is the prior's weight where given as NaN; exactly if `None`.

    With `keep` above 1 the factorisation of a `Nystrom` serves as many steps.
    """
    optimiser = optax.adam(0.1)
    only = eqx.tree_at(_numbers, jax.tree.map(lambda _: False, at.inner), replace=(True, True))
    options = {"curvature": GaussNewtonHessian(lambda loss: loss.terms[0]), "inner_product": at.product}

    def gradient(inner: Any, field: Array, inverse: AbstractInverse) -> Any:
        shifted = with_shift(inverse, jnp.where(jnp.isnan(shift), inner.terms[1].weight, shift))
        kept = options if _is_shifted(inverse) else {**options, "curvature": GaussNewtonHessian()}
        return hypergradient(at.outer, inner, field, shifted, hyperparameters=only, throw=False, **kept)

    def step(carry: Any, key: Array) -> tuple[Any, tuple]:
        logs, state, low, index = carry
        inner = eqx.tree_at(_numbers, at.inner, tuple(map(jnp.exp, logs)))
        field = minimise(at, inner)
        exact = _chained(_exact(at, inner), logs)
        found = exact
        if method is not None:
            if keep > 1:
                fresh = with_key(method, key)
                low = jax.lax.cond(
                    index % keep == 0,
                    lambda: low_rank_inverse(inner, field, fresh, **options),
                    lambda: low,
                )
            found = _chained(_numbers(gradient(inner, field, low if keep > 1 else with_key(method, key))), logs)
        updates, state = optimiser.update(found, state)
        error = _norm(jax.tree.map(jnp.subtract, found, exact)) / _norm(exact)
        distance = jnp.sqrt(jnp.mean((field - at.truth) ** 2))
        seen = (2 * at.outer(field) / at.outer.num_data, error, distance)
        return (optax.apply_updates(logs, updates), state, low, index + 1), seen

    logs = tuple(map(jnp.log, _numbers(at.inner)))
    low = None
    if keep > 1:
        assert isinstance(method, Nystrom), "only a Nystrom makes a factorisation"
        count = method.rank
        low = LowRankInverse(jnp.zeros((at.truth.size, count)), jnp.zeros(count), jnp.ones(()))
    keys = jr.split(jr.key(11), steps)
    (logs, *_), seen = jax.lax.scan(step, (logs, optimiser.init(logs), low, jnp.asarray(0)), keys)
    return Run(*seen, jnp.exp(logs[0]))


def with_key(method: AbstractInverse, key: Array) -> AbstractInverse:
    """New columns for a new step, where a method draws any."""
    return eqx.tree_at(lambda m: m.key, method, key) if isinstance(method, Nystrom) else method


def with_shift(method: AbstractInverse, shift: Any) -> AbstractInverse:
    """Another `ρ` or damping, where a method has one."""
    if not _is_shifted(method):
        return method
    name = "rho" if hasattr(method, "rho") else "damping"
    return eqx.tree_at(lambda m: getattr(m, name), method, jnp.asarray(shift))


def _is_shifted(method: AbstractInverse) -> bool:
    return hasattr(method, "rho") or hasattr(method, "damping")


def _numbers(inner: Any) -> tuple[Array, Array]:
    return inner.terms[0].sigma, inner.terms[1].weight


def _chained(gradient: tuple, logs: tuple) -> tuple:
    """The derivative in the logarithms."""
    return jax.tree.map(lambda g, log: g * jnp.exp(log), tuple(gradient), logs)


def _norm(tree: Any) -> Array:
    return jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(tree)))


def _exact(at: Problem, inner: Any) -> tuple[Array, Array]:
    """Through the closed form of the minimum, by automatic differentiation."""

    def value(numbers: tuple[Array, Array]) -> Array:
        return at.outer(minimise(at, eqx.tree_at(_numbers, inner, numbers)))

    return jax.grad(value)(_numbers(inner))


def _linearised(experiment: Experiment, at: Array, grid: kp.Grid) -> Linear:
    """The Jacobian, one row after the other."""

    def predict(raw: Array) -> Array:
        return experiment(Aquifer(Positive(raw), grid))

    @jax.jit
    def evaluate(raw: Array) -> tuple[Array, Array]:
        value, pullback = jax.vjp(predict, raw)
        basis = jnp.eye(value.size).reshape(-1, *value.shape)
        return value, jax.lax.map(lambda row: pullback(row)[0].ravel(), basis, batch_size=10)

    return Linear(*evaluate(at), at)


def _lattice(count: int) -> np.ndarray:
    places = (np.arange(count) + 0.5) / count
    return np.stack(np.meshgrid(places, places, indexing="ij"), axis=-1).reshape(-1, 2)
