"""Gaussian priors: one interface between unknowns and standard normal numbers."""

import abc
import math
from typing import Any

import jax
import jax.tree_util as jtu
from jaxtyping import Array, PRNGKeyArray, PyTree, Scalar

from ..._custom_types import Structure
from ..loss import AbstractLoss, half_sum_of_squares


class AbstractPrior(AbstractLoss):
    r"""A Gaussian prior, `½ |z|²` with `z = L (values - reference)`: its covariance is $(L^\top L)^{-1}$.

    `z` are standard normal numbers, as many as there are values. A concrete prior says which values of a model it
    speaks of, and gives `whiten` and its inverse `colour`; the rest follows.

    `whiten` is an affine function and `colour` too, so their derivatives are `L` and `L⁻¹`, the same everywhere.
    """

    @abc.abstractmethod
    def selected(self, model: Any) -> PyTree[Array]:
        """The values of a model that the prior speaks of."""

    @abc.abstractmethod
    def whiten(self, values: PyTree[Array]) -> PyTree[Array]:
        """`z = L (values - reference)`, of the shapes of the values."""

    @abc.abstractmethod
    def colour(self, noise: PyTree[Array]) -> PyTree[Array]:
        """`reference + L⁻¹ z`, the inverse of `whiten`: with standard normal numbers, a sample of the prior."""

    @abc.abstractmethod
    def variance(self, values: PyTree[Array]) -> PyTree[Array] | None:
        """The prior's variance of each value, exactly; `None` where that costs one solve for each value.

        `values` are asked for their shapes alone.
        """

    @abc.abstractmethod
    def log_determinant(self, values: PyTree[Array]) -> Scalar | None:
        """`log |det L|`; `None` where that costs a factorization. `values` are asked for their shapes alone."""

    def __call__(self, model: Any) -> Scalar:
        """`½ |z|²`."""
        return half_sum_of_squares(self.residual(model))

    def residual(self, model: Any) -> PyTree[Array]:
        """`z`: standard normal numbers for a model of the prior."""
        return self.whiten(self.selected(model))

    def reduced_misfit(self, model: Any, value: Scalar) -> None:
        return None

    def whiten_transpose(self, noise: PyTree[Array]) -> PyTree[Array]:
        """`Lᵀ z`."""
        return jax.vjp(self.whiten, jtu.tree_map(jax.numpy.zeros_like, noise))[1](noise)[0]

    def colour_transpose(self, values: PyTree[Array]) -> PyTree[Array]:
        """`L⁻ᵀ values`."""
        return jax.vjp(self.colour, jtu.tree_map(jax.numpy.zeros_like, values))[1](values)[0]

    def log_density(self, model: Any) -> Scalar:
        """The logarithm of the prior's density at a model, with all constants.

        **Raises:** `ValueError` where the determinant is not known.
        """
        values = self.selected(model)
        determinant = self.log_determinant(values)
        if determinant is None:
            message = (
                f"{type(self).__name__}.log_density: the determinant of this prior is not known (other walls than "
                "insulated ones, a mask or a very long axis). The prior itself is the density but for that constant."
            )
            raise ValueError(message)
        size = sum(leaf.size for leaf in jtu.tree_leaves(values))
        return determinant - self(model) - 0.5 * size * math.log(2 * math.pi)


def standard_normal_like(key: PRNGKeyArray, tree: Structure | PyTree[Array]) -> PyTree[Array]:
    """Independent standard normal numbers of a pytree's shapes and precisions."""
    leaves, structure = jtu.tree_flatten(tree)
    keys = jax.random.split(key, max(len(leaves), 1))
    return structure.unflatten(
        [jax.random.normal(k, leaf.shape, leaf.dtype) for k, leaf in zip(keys, leaves, strict=False)]
    )
