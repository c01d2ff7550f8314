"""Losses: how far a model's predictions are from data, as functions of the model.

A loss is an ordinary function of an Equinox model: `jax.value_and_grad(loss)(model)`, `eqx.filter_jit(loss)(model)`,
optax and optimistix all apply. Losses add: `LeastSquares(...) + Tikhonov(...)`.
"""

import abc
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, ArrayLike, PyTree, Scalar, Shaped

from ._data import count_data


class AbstractLoss(eqx.Module):
    """A scalar function of a model that knows how well the data are fitted."""

    #: NumPy's numbers leave `number * loss` to the loss instead of making an array of it.
    __array_ufunc__: ClassVar[None] = None

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

    def __rmul__(self, factor: Shaped[ArrayLike, ""]) -> "AbstractLoss":
        from ._scaled import Scaled  # it is a loss, so its file imports this one

        return Scaled(self, factor)


class AbstractDataLoss(AbstractLoss):
    """A loss that compares predictions with data: what `χ²/N` is about.

    A concrete one gives `residual`, and `expected_value` where that is not that of least squares; the rest follows.
    """

    data: eqx.AbstractVar[PyTree[Shaped[Array, "..."]]]
    sigma: eqx.AbstractVar[PyTree[Shaped[Array, "..."]]]

    @property
    def num_data(self) -> Scalar:
        """How many data count: those of finite `sigma`. A float, in the precision of the data."""
        return count_data(self.data, self.sigma)

    @property
    def expected_value(self) -> Scalar:
        """What the loss is on average where the predictions are right and the noise is as it says.

        `num_data / 2` for least squares.
        """
        return self.num_data / 2

    def __call__(self, model: PyTree) -> Scalar:
        """`½ Σ|residual|²`."""
        return half_sum_of_squares(self.residual(model))

    def reduced_misfit(self, model: PyTree, value: Scalar) -> Scalar:
        """The loss over its expected value."""
        return value / self.expected_value


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
        data_terms = [term for term in self.terms if isinstance(term, AbstractDataLoss)]
        if not data_terms:
            return None
        for term in self.terms:
            if not isinstance(term, AbstractDataLoss):
                value = value - term(model)
        expected = [term.expected_value for term in data_terms]
        return value / sum(expected[1:], expected[0])


def half_sum_of_squares(residual: PyTree[Array]) -> Scalar:
    """`½ Σ|r|²` over the leaves of a pytree."""
    parts = [0.5 * jnp.sum(jnp.real(leaf * jnp.conj(leaf))) for leaf in jtu.tree_leaves(residual)]
    return sum(parts[1:], parts[0])


def _terms(loss: AbstractLoss) -> tuple[AbstractLoss, ...]:
    return loss.terms if isinstance(loss, Total) else (loss,)
