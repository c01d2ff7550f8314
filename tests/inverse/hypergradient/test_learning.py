"""What hypergradients are for, in small: weights of penalties, misfits and sensors, learnt from validation data."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from jaxtyping import Array

import krylovpde as kp
from krylovpde.inverse import (
    ConjugateGradient,
    Experiment,
    GaussNewton,
    GaussNewtonHessian,
    LeastSquares,
    Nystrom,
    Positive,
    Tikhonov,
    fit,
    hypergradient,
)

_GRID = kp.Grid((40,), 0.0, 1.0)
_X = jnp.asarray(_GRID.coordinates[0])
# Smooth on the left, rough on the right.
_TRUTH = jnp.where(_X < 0.5, jnp.sin(jnp.pi * _X), 1.0 + 0.5 * jnp.sin(12 * jnp.pi * _X))


class Learnt(eqx.Module):
    """A loss made of the logarithms of its weights."""

    logarithms: Array
    make: Callable[[Array], Any] = eqx.field(static=True)

    def __call__(self, model):
        return self.make(jnp.exp(self.logarithms))(model)

    def residual(self, model):
        return self.make(jnp.exp(self.logarithms)).residual(model)

    def minimum(self):
        """Of a loss that is quadratic in a field."""
        at = jnp.zeros(_GRID.shape)
        return at - jnp.linalg.solve(jax.hessian(self)(at), jax.grad(self)(at))


def _sees(cells):
    return lambda field: field[np.asarray(cells)]


def _noisy(key, cells, sigma):
    return _TRUTH[np.asarray(cells)] + sigma * jr.normal(key, (len(cells),))


def _learn(inner, outer, method, steps=25, rate=0.2):
    """The validation loss over the outer steps, and the loss at the end."""
    optimiser = optax.adam(rate)

    def step(carry, _):
        loss, state = carry
        minimum = loss.minimum()
        options = {"curvature": GaussNewtonHessian(), "throw": False}
        gradient = hypergradient(outer, loss, minimum, method, **options)
        exact = jax.grad(lambda other: outer(other.minimum()))(loss)
        updates, state = optimiser.update(gradient, state)
        error = jnp.linalg.norm(gradient.logarithms - exact.logarithms) / jnp.linalg.norm(exact.logarithms)
        return (eqx.apply_updates(loss, updates), state), (outer(minimum), error)

    carry = (inner, optimiser.init(inner))
    (loss, _), seen = jax.jit(lambda carry: jax.lax.scan(step, carry, None, length=steps))(carry)
    return loss, *seen


_TRAIN, _VALIDATE = range(1, 40, 2), range(0, 40, 2)


@pytest.mark.standard_promotion
def test_a_weight_that_varies_in_space(key):
    """Stiff where the field is smooth, soft where it is rough."""
    first, second = jr.split(key)
    data = LeastSquares(_sees(_TRAIN), _noisy(first, _TRAIN, 0.1), 0.1)
    outer = LeastSquares(_sees(_VALIDATE), _noisy(second, _VALIDATE, 0.1), 0.1)
    inner = Learnt(jnp.zeros(40), lambda weight: data + Tikhonov(_GRID, lambda field: field, weight))
    loss, values, errors = _learn(inner, outer, ConjugateGradient(60, 1e-10))
    assert jnp.max(errors) < 1e-6
    assert values[-1] < 0.7 * values[0]
    assert jnp.mean(loss.logarithms[:20]) > jnp.mean(loss.logarithms[20:])


@pytest.mark.standard_promotion
def test_weights_of_two_misfits(key):
    """One data set is worth little, and nobody has told."""
    keys = jr.split(key, 3)
    good, bad = range(1, 40, 4), range(3, 40, 4)
    numbers = [_noisy(keys[0], good, 0.02), _noisy(keys[1], bad, 1.0)]
    outer = LeastSquares(_sees(_VALIDATE), _noisy(keys[2], _VALIDATE, 0.02), 0.1)

    def make(weights):
        sigmas = weights**-0.5
        misfits = [LeastSquares(_sees(good), numbers[0], sigmas[0]), LeastSquares(_sees(bad), numbers[1], sigmas[1])]
        return misfits[0] + misfits[1] + Tikhonov(_GRID, lambda field: field, 0.1)

    inner = Learnt(jnp.log(jnp.array([10.0, 10.0])), make)
    loss, values, errors = _learn(inner, outer, Nystrom(40, 1e-7, key=key))
    assert jnp.max(errors) < 1e-4
    assert values[-1] < 0.7 * values[0]
    assert loss.logarithms[0] > loss.logarithms[1] + 2.0


@pytest.mark.standard_promotion
def test_sensor_weights(key):
    """Three sensors of twenty are broken: they lose their weight, and of the others few do."""
    first, second = jr.split(key)
    broken = np.array([4, 9, 15])
    data = _noisy(first, _TRAIN, 0.05).at[broken].add(jnp.array([2.0, -2.0, 2.0]))
    outer = LeastSquares(_sees(_VALIDATE), _noisy(second, _VALIDATE, 0.05), 0.1)

    def make(weights):
        return LeastSquares(_sees(_TRAIN), data, weights**-0.5) + Tikhonov(_GRID, lambda field: field, 0.1)

    inner = Learnt(jnp.full(20, jnp.log(50.0)), make)
    loss, values, errors = _learn(inner, outer, ConjugateGradient(60, 1e-10))
    assert jnp.max(errors) < 1e-5
    assert values[-1] < 0.3 * values[0]
    change = np.asarray(loss.logarithms - inner.logarithms)
    assert (change[broken] < -3).all()
    assert np.sum(np.delete(change, broken) < -3) <= 3


class Rod(eqx.Module):
    diffusivity: Positive

    def equation(self):
        return kp.Diffusion(_ROD, self.diffusivity.value)


_ROD = kp.Grid((16,), 0.0, 1.0)


@pytest.mark.slow
def test_the_weight_of_a_pde_inversion_against_refits(key):
    """The derivative through a nonlinear fit, by both Hessians, beside differences between fits."""
    x = jnp.asarray(_ROD.coordinates[0])
    truth = Rod(Positive(jnp.log(0.1) + 0.5 * jnp.sin(2 * jnp.pi * x)))
    times = jnp.linspace(0.1, 1.0, 6)
    run = Experiment(jnp.exp(-(((x - 0.3) / 0.1) ** 2)), times, kp.Sensors(_ROD, [[0.2], [0.5], [0.8]]))
    other = dataclasses.replace(run, initial=jnp.exp(-(((x - 0.7) / 0.1) ** 2)))
    sigma = 0.01
    data, held_out = (e(truth) + sigma * jr.normal(k, (6, 3)) for e, k in zip((run, other), jr.split(key), strict=True))
    outer = LeastSquares(other, held_out, sigma)

    def loss(weight):
        return LeastSquares(run, data, sigma) + Tikhonov(_ROD, lambda m: m.diffusivity.raw, weight)

    def minimum(weight):
        start = Rod(Positive(jnp.full(16, jnp.log(0.1))))
        return fit(loss(weight), start, GaussNewton(rtol=1e-14, forcing=1e-6), max_iterations=60, progress=None).model

    weight = jnp.asarray(0.3)
    model, inner = minimum(weight), loss(weight)
    only = eqx.tree_at(lambda total: total.terms[1].weight, jax.tree.map(lambda _: False, inner), replace=True)
    difference = (outer(minimum(weight * 1.01)) - outer(minimum(weight / 1.01))) / (weight * (1.01 - 1 / 1.01))
    for curvature, tolerance in ((None, 2e-3), (GaussNewtonHessian(), 0.3)):
        found = hypergradient(
            outer, inner, model, ConjugateGradient(60, 1e-10), hyperparameters=only, curvature=curvature
        )
        np.testing.assert_allclose(found.terms[1].weight, difference, rtol=tolerance)
