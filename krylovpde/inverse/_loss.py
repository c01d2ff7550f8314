"""Losses: how far a model's predictions are from data, as functions of the model.

A loss is an ordinary function of an Equinox model: `jax.value_and_grad(loss)(model)`, `eqx.filter_jit(loss)(model)`,
optax and optimistix all apply. Losses add: `LeastSquares(...) + Tikhonov(...)`.
"""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, PyTree, Scalar, Shaped

from ..grid import is_concrete


class AbstractLoss(eqx.Module):
    """A scalar function of a model that knows how well the data are fitted."""

    @abc.abstractmethod
    def __call__(self, model: PyTree) -> Scalar:
        """The value to be minimised."""

    @abc.abstractmethod
    def residual(self, model: PyTree) -> PyTree[Array]:
        """A pytree `r` of arrays with `loss = ½ Σ|r|²`, for least-squares solvers.

        **Raises:** `TypeError` for a loss that is not a sum of squares.
        """

    @abc.abstractmethod
    def reduced_misfit(self, model: PyTree, value: Scalar) -> Scalar | None:
        """`χ²/N` of the data at a model where the loss is known to be `value`; `None` where the loss has no data.

        It is about 1 where the predictions differ from the data by as much as the data's standard deviations say.
        Taking the value as given spares a second solve.
        """

    def __add__(self, other: "AbstractLoss") -> "Total":
        return Total((*_terms(self), *_terms(other)))


class LeastSquares(AbstractLoss):
    """`½ Σ_i |(prediction_i - data_i) / sigma_i|²`: minus the logarithm of a Gaussian likelihood.

    A standard deviation should hold all that makes a perfect model miss its data: measurement noise *and* the error of
    the mesh. Without the second an inversion fits its own discretisation.

    **Arguments:**

    - `predict`: `predict(model)` gives a pytree like `data`: a function, an `Experiment`, or `Experiments`.
    - `data`: what was measured, a pytree of arrays.
    - `sigma`: standard deviations in the unit of the data: one number, or a pytree like `data` whose leaves broadcast
        against the data's. `inf` leaves a datum out; the datum itself may then be NaN.

    **Raises:** `ValueError` for a `sigma` that is not positive, data that are not finite where `sigma` is, and
    predictions that do not have the data's shapes.
    """

    predict: Callable[[Any], PyTree]
    data: PyTree[Shaped[Array, "..."]]
    sigma: PyTree[Shaped[Array, "..."]]

    def __init__(self, predict: Callable[[Any], PyTree], data: PyTree, sigma: PyTree):
        self.predict = predict
        self.data = jtu.tree_map(_inexact, data)
        self.sigma = _like_data(sigma, self.data)
        jtu.tree_map(_check_data, self.data, self.sigma)

    def __call__(self, model: PyTree) -> Scalar:
        return half_sum_of_squares(self.residual(model))

    def residual(self, model: PyTree) -> PyTree[Array]:
        """`(prediction - data) / sigma`, a pytree like the data; 0 where `sigma` is infinite."""
        prediction = self.predict(model)
        _check_prediction(prediction, self.data)
        return jtu.tree_map(_weighted, prediction, self.data, self.sigma)

    def reduced_misfit(self, model: PyTree, value: Scalar) -> Scalar:
        return 2 * value / self.num_data

    @property
    def num_data(self) -> Scalar:
        """How many data count: those of finite `sigma`. A float, in the precision of the data."""
        leaves = zip(jtu.tree_leaves(self.data), jtu.tree_leaves(self.sigma), strict=True)
        counted = [(jnp.broadcast_to(jnp.isfinite(sigma), data.shape), sigma.dtype) for data, sigma in leaves]
        counts = [jnp.sum(finite, dtype=dtype) for finite, dtype in counted]
        return sum(counts[1:], counts[0])


class Total(AbstractLoss):
    """A sum of losses, `Σ_k terms[k]`: data terms and penalties. Made by `+`."""

    terms: tuple[AbstractLoss, ...]

    def __call__(self, model: PyTree) -> Scalar:
        values = [term(model) for term in self.terms]
        return sum(values[1:], values[0])

    def residual(self, model: PyTree) -> PyTree[Array]:
        """The tuple of the terms' residuals."""
        return tuple(term.residual(model) for term in self.terms)

    def reduced_misfit(self, model: PyTree, value: Scalar) -> Scalar | None:
        """Of the data terms together; `None` where there are none.

        The penalties cost no solve, so the data's part is the given total minus them.
        """
        data_terms = [term for term in self.terms if isinstance(term, LeastSquares)]
        if not data_terms:
            return None
        for term in self.terms:
            if not isinstance(term, LeastSquares):
                value = value - term(model)
        counts = [term.num_data for term in data_terms]
        return 2 * value / sum(counts[1:], counts[0])


def half_sum_of_squares(residual: PyTree[Array]) -> Scalar:
    """`½ Σ|r|²` over the leaves of a pytree."""
    parts = [0.5 * jnp.sum(jnp.real(leaf * jnp.conj(leaf))) for leaf in jtu.tree_leaves(residual)]
    return sum(parts[1:], parts[0])


def _terms(loss: AbstractLoss) -> tuple[AbstractLoss, ...]:
    return loss.terms if isinstance(loss, Total) else (loss,)


def _inexact(leaf: Any) -> Array:
    leaf = jnp.asarray(leaf)
    return leaf if jnp.issubdtype(leaf.dtype, jnp.inexact) else leaf.astype(float)


def _like_data(sigma: PyTree, data: PyTree) -> PyTree[Array]:
    """One standard deviation per leaf of the data, in the data's real precision."""

    def cast(deviation, leaf):
        return jnp.asarray(deviation, dtype=jnp.finfo(leaf.dtype).dtype)

    if jtu.treedef_is_leaf(jtu.tree_structure(sigma)):
        return jtu.tree_map(lambda leaf: cast(sigma, leaf), data)
    if jtu.tree_structure(sigma) != jtu.tree_structure(data):
        message = (
            f"LeastSquares: sigma has the structure {jtu.tree_structure(sigma)} and data {jtu.tree_structure(data)}. "
            "Give one number, or a pytree like the data."
        )
        raise ValueError(message)
    return jtu.tree_map(cast, sigma, data)


def _check_data(data: Array, sigma: Array):
    if not (is_concrete(data) and is_concrete(sigma)):
        return
    try:
        deviations = np.broadcast_to(np.asarray(sigma), data.shape)
    except ValueError:
        message = f"LeastSquares: sigma of shape {sigma.shape} does not broadcast to data of shape {data.shape}."
        raise ValueError(message) from None
    if not (deviations > 0).all():
        message = (
            f"LeastSquares: sigma must be positive, but its least entry is {deviations.min():.6g}. "
            "A standard deviation of inf leaves a datum out."
        )
        raise ValueError(message)
    missing = int((~np.isfinite(np.asarray(data)) & np.isfinite(deviations)).sum())
    if missing:
        message = (
            f"LeastSquares: {missing} of {data.size} data are not finite. Where a datum is missing, give sigma = inf."
        )
        raise ValueError(message)


def _check_prediction(prediction: PyTree, data: PyTree):
    if jtu.tree_structure(prediction) != jtu.tree_structure(data):
        message = (
            f"LeastSquares: predict(model) has the structure {jtu.tree_structure(prediction)} "
            f"and data {jtu.tree_structure(data)}; they must agree."
        )
        raise ValueError(message)
    shapes = [(jnp.shape(p), d.shape) for p, d in zip(jtu.tree_leaves(prediction), jtu.tree_leaves(data), strict=True)]
    for found, expected in shapes:
        if found != expected:
            message = f"LeastSquares: predict(model) has the shape {found} where data have {expected}."
            raise ValueError(message)


def _weighted(prediction: Array, data: Array, sigma: Array) -> Array:
    # The prediction's precision decides: it is the state's.
    counted = jnp.isfinite(sigma)
    data, sigma = data.astype(prediction.dtype), sigma.astype(prediction.dtype)
    # Both operands are made harmless *before* the division: a NaN behind a `where` would come back in the derivative.
    difference = jnp.where(counted, prediction - jnp.where(counted, data, 0), 0)
    return difference / jnp.where(counted, sigma, 1)
