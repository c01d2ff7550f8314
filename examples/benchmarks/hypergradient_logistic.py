"""Logistic regression with a weight decay for each parameter: the study of Hataya and Yamada (2023).

500 points for training and 500 for validation in 100 dimensions, `x ~ N(0, I)`, labels `w·x + 0.1 noise > 0`. The inner
loss is the mean cross entropy plus `½ Σ φ θ²`, minimised by 100 steps of descent of length 0.1 from zero, so not to the
end. The outer loss is the cross entropy of the validation points, and `φ`, which starts at 1, is moved by descent
with momentum 0.9 and length 1, and kept above 1e-8. These are the numbers of the paper's own code
(github.com/moskomule/hypergrad, examples/logistic_regression.py); 100 outer steps are our choice.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from krylovpde.inverse import AbstractInverse, hypergradient


class CrossEntropy(eqx.Module):
    """The mean over points, plus the decay."""

    decay: Float[Array, " d"]
    inputs: Float[Array, "n d"]
    labels: Float[Array, " n"]

    def __call__(self, weights: Float[Array, " d"]) -> Float[Array, ""]:
        """The loss of the weights."""
        logits = self.inputs @ weights
        return jnp.mean(jax.nn.softplus(logits) - self.labels * logits) + 0.5 * jnp.sum(self.decay * weights**2)


class Run(NamedTuple):
    """Of each outer step: the validation loss, the error of the hypergradient relative to the dense formula."""

    outer: Array
    error: Array


def losses(seed: int, points: int = 1000, dimension: int = 100) -> tuple[CrossEntropy, CrossEntropy]:
    """For training and for validation."""
    weight_key, input_key, noise_key = jr.split(jr.key(seed), 3)
    inputs = jr.normal(input_key, (points, dimension))
    scores = inputs @ jr.normal(weight_key, (dimension,)) + 0.1 * jr.normal(noise_key, (points,))
    labels, half = (scores > 0).astype(inputs.dtype), points // 2
    decay = jnp.ones(dimension)
    train = CrossEntropy(decay, inputs[:half], labels[:half])
    return train, CrossEntropy(0 * decay, inputs[half:], labels[half:])


def minimise(loss: CrossEntropy, steps: int = 100) -> Float[Array, " d"]:
    """A hundred steps of descent."""
    return jax.lax.fori_loop(0, steps, lambda _, w: w - 0.1 * jax.grad(loss)(w), jnp.zeros(loss.decay.size))


def dense(outer: CrossEntropy, inner: CrossEntropy, weights: Array, shift: Any = 0.0) -> Float[Array, " d"]:
    """The formula with a matrix: the mixed derivative is `diag θ`."""
    hessian = jax.hessian(inner)(weights) + shift * jnp.eye(weights.size)
    return -weights * jnp.linalg.solve(hessian, jax.grad(outer)(weights))


def train(method: AbstractInverse | None, seed: int, steps: int = 100) -> Run:
    """Learn the decay with hypergradients by a method; by the dense formula if `None`. To be compiled by the caller."""
    inner, outer = losses(seed)
    only = eqx.tree_at(lambda loss: loss.decay, jax.tree.map(lambda _: False, inner), replace=True)

    def step(state: tuple[CrossEntropy, Array], key: Array) -> tuple[tuple[CrossEntropy, Array], Run]:
        loss, momentum = state
        weights = minimise(loss)
        exact = dense(outer, loss, weights)
        found = exact
        if method is not None:
            fresh = with_key(method, key)
            found = hypergradient(outer, loss, weights, fresh, hyperparameters=only, throw=False).decay
        momentum = 0.9 * momentum + found
        moved = eqx.tree_at(lambda loss: loss.decay, loss, jnp.maximum(loss.decay - momentum, 1e-8))
        error = jnp.linalg.norm(found - exact) / jnp.linalg.norm(exact)
        return (moved, momentum), Run(outer(weights), error)

    keys = jr.split(jr.key(1000 + seed), steps)
    return jax.lax.scan(step, (inner, jnp.zeros_like(inner.decay)), keys)[1]


def with_key(method: AbstractInverse, key: Array) -> AbstractInverse:
    """New columns for a new step, where a method draws any."""
    return eqx.tree_at(lambda m: m.key, method, key) if hasattr(method, "key") else method
