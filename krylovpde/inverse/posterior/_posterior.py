"""A Gaussian approximation of the posterior around an estimate."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray, PyTree, Scalar

from ..._parameter import known_false
from ..loss import AbstractLoss
from ._curvature import AbstractCurvature
from ._evidence import Squares, best_precisions, gaussian_constants, log_evidence
from ._normal import (
    NUM_SAMPLES,
    NormalModel,
    covariance_root,
    free_part,
    free_variance,
    linearised_prediction,
    sampled,
    variance_is_exact,
)
from ._prediction import MOST_PRODUCTS, Prediction, check_outputs, normal_prediction, sample_prediction


class LaplacePosterior(eqx.Module):
    r"""The normal distribution around an estimate of precision $J^\top J + L^\top L$. Made by `laplace_posterior`.

    `J` is the derivative of the data's residual at the estimate, $L^\top L$ the precision of the prior. In the prior's
    standard normal numbers the precision is `I + H`, $H = L^{-\top} J^\top J L^{-1}$, and the eigenvalues of `H` say
    how much more the data know than the prior does, direction by direction: a direction of eigenvalue λ has
    `1 / (1 + λ)` of its prior variance left.

    - `truncation`: the largest eigenvalue that is left out. The variance in its direction is too large by the factor
        `1 + truncation`; far below 1 it does not matter.
    - `decrement`: how far the minimum of the quadratic model is from the estimate, in standard deviations of the
        posterior. Far below 1 at an estimate that is one.
    - `products`: how many products with the derivative, and with its transpose, have been taken.
    """

    loss: AbstractLoss
    normal: NormalModel
    data_squares: Scalar
    truncation: float
    decrement: float
    products: int
    key: PRNGKeyArray

    @property
    def model(self) -> PyTree:
        """The estimate."""
        return self.normal.whitened.estimate

    @property
    def size(self) -> int:
        """How many free numbers there are."""
        return self.normal.centre.size

    @property
    def curvature(self) -> AbstractCurvature:
        """`H`; `curvature.spectrum` are its eigenvalues."""
        return self.normal.curvature

    @property
    def prior_precision(self) -> Scalar:
        """By how much the precision of the priors is multiplied: 1, or what `calibrated` has chosen."""
        return self.normal.prior

    @property
    def noise_precision(self) -> Scalar:
        """The same for the precision of the noise, `1 / sigma²`."""
        return self.normal.noise

    # --8<-- [start:density]
    def log_density(self, model: PyTree) -> Scalar:
        """The logarithm of the posterior's density, exact up to a constant: minus loss and priors, nothing linearised.

        It is the density in the free numbers as they are stored, of which the priors speak.
        """
        value = self.loss(model)
        priors = [prior(model).astype(value.dtype) for prior in self.normal.whitened.priors]
        noise, prior = (factor.astype(value.dtype) for factor in (self.noise_precision, self.prior_precision))
        return -(noise * value + prior * sum(priors[1:], priors[0]))

    @property
    def vector_log_density(self) -> Callable[[Float[Array, " n"]], Scalar]:
        """The same as a plain function of one vector, for samplers such as those of BlackJAX and NumPyro.

        The vector is standard normal where the posterior is as this approximation says: start at zero, and a step size
        of order 1 and a unit mass matrix are right. `model_at` gives the model for a vector.
        """

        def density(vector: Float[Array, " n"]) -> Scalar:
            return self.log_density(self.model_at(vector))

        return density

    # --8<-- [end:density]
    def model_at(self, vector: Float[Array, " n"]) -> PyTree:
        """The model for a vector that is standard normal by this approximation; the estimate for zero."""
        return eqx.combine(self.normal.free(vector), self.normal.whitened.fixed)

    def vector_at(self, model: PyTree) -> Float[Array, " n"]:
        """The vector of a model: the inverse of `model_at`."""
        return self.normal.inverse_root(self.normal.whitened.vector(model) - self.normal.centre)

    def sample(self, key: PRNGKeyArray, count: int | None = None) -> PyTree:
        """Models drawn from the normal distribution.

        **Arguments:**

        - `key`: of the random numbers.
        - `count`: how many.

        **Returns:** one model; with `count` one whose free leaves have a leading axis of that length. To compute
        something of every sample, draw inside: `jax.lax.map(lambda key: f(posterior.sample(key)), keys)`.
        """
        if count is None:
            return eqx.combine(self.normal.draw(key), self.normal.whitened.fixed)
        free = sampled(self.normal, free_part(self.normal.whitened), jax.random.split(key, count))
        return eqx.combine(free, self.normal.whitened.fixed)

    @property
    def variance(self) -> PyTree:
        """The variance of every free number, like the model; `None` where nothing is free.

        Of the numbers as they are stored, the logarithm for a `Positive`; `predict(lambda model: model.speed.value)`
        is about physical values. Exact for up to 1024 unknowns and where the priors know their own variances; else
        estimated, with the relative error that `variance_error` tells.
        """
        return free_variance(self.normal, self.key)

    @property
    def variance_error(self) -> float:
        """The relative standard error of `variance`: 0 where it is exact, 0.0625 where it is that of 512 samples."""
        return 0.0 if variance_is_exact(self.normal) else float(np.sqrt(2 / NUM_SAMPLES))

    @property
    def covariance(self) -> Float[np.ndarray, "n n"]:
        """The matrix of the free numbers' covariances, in the order of the model's leaves: for few unknowns.

        **Raises:** `ValueError` for more than 4096.
        """
        if self.size > MOST_PRODUCTS:
            message = f"covariance: a matrix of {self.size} × {self.size} numbers. Ask `variance`, `predict`, `sample`."
            raise ValueError(message)
        root = np.asarray(covariance_root(self.normal), np.float64)
        return root.T @ root

    def predict(
        self,
        function: Callable[[PyTree], PyTree],
        *,
        key: PRNGKeyArray | None = None,
        count: int = 256,
        sigma: Any = None,
        level: float = 0.95,
    ) -> Prediction:
        """Mean, standard deviation and band of anything that is computed from the model.

        Without a key the function is linearised at the estimate, which costs as many products as it has outputs or the
        model unknowns, whichever are fewer. With a key it is computed for models that are drawn, so that the band
        follows its curvature; the model's own distribution is the normal one in either case.

        **Arguments:**

        - `function`: of the model: an `Experiment`, or `lambda model: model.speed.value`. Real arrays, any pytree.
        - `key`: of the random numbers.
        - `count`: how many samples.
        - `sigma`: standard deviations of measurements, for the band that new data fall in: one number, or a pytree like
            the prediction. Without it the band is that of the function itself.
        - `level`: the probability.

        **Returns:** a `Prediction`.

        **Raises:** `TypeError` for outputs that are not real; `ValueError` for a negative `sigma`, fewer than two
        samples, a level that is no probability, and where there are more than 4096 outputs of
        as many unknowns, and no key.
        """
        if not 0 < level < 1:
            message = f"predict: level is a probability between 0 and 1, got {level}."
            raise ValueError(message)
        if key is not None and count < 2:
            message = f"predict: a spread needs at least 2 samples, got count={count}."
            raise ValueError(message)
        if any(known_false(lambda s: s >= 0, leaf) for leaf in jtu.tree_leaves(sigma)):
            message = f"predict: sigma are standard deviations and cannot be negative, got {sigma}."
            raise ValueError(message)
        shapes = eqx.filter_eval_shape(function, self.model)
        check_outputs(shapes, self.size if key is None else 0)
        if key is None:
            return normal_prediction(*linearised_prediction(self.normal, function), sigma, level)
        first, second = jax.random.split(key)
        return sample_prediction(sampled(self.normal, function, jax.random.split(first, count)), sigma, level, second)

    @property
    def log_evidence(self) -> Scalar:
        """The logarithm of the data's probability under model and prior, by Laplace's approximation.

            log p(data | estimate) - ½ |z|² - ½ log det (I + H)

        with all constants, so that models of different numbers of unknowns can be compared; `z` are the standard normal
        numbers of the estimate. Exact where the predictions are linear in the free numbers. What `truncation` leaves
        out of the spectrum is left out of the determinant.

        **Raises:** `TypeError` for a loss that is not made of `LeastSquares`.
        """
        return self.log_evidence_for(self.prior_precision, self.noise_precision)

    def log_evidence_for(self, prior_precision: ArrayLike, noise_precision: ArrayLike = 1.0) -> Scalar:
        """The same for other factors of the precisions of prior and noise, at the same estimate; differentiable."""
        prior, noise = map(jnp.asarray, (prior_precision, noise_precision))
        return log_evidence(self.curvature, self._squares(), prior, noise)

    def calibrated(self, *, prior: bool = True, noise: bool = True) -> "LaplacePosterior":
        """The posterior with the precisions of prior and noise that have the largest evidence.

        One factor for all priors and one for all data. The estimate stays where it is: where the factors are far from
        1, it is not the best one any more, and should be fitted again with `weight` and `sigma` changed accordingly.
        For the noise alone and a very wide prior the factor is a regression's `1 / s²`, `s² = 2 misfit / (N - p)`.

        **Arguments:**

        - `prior`, `noise`: which of them to choose; the other one is 1.

        **Returns:** a `LaplacePosterior` with other `prior_precision` and `noise_precision`.

        **Raises:** `ValueError` where the evidence has no maximum; `TypeError` as for `log_evidence`.
        """
        chosen = best_precisions(self.curvature, self._squares(), prior, noise)
        factors = tuple(jnp.asarray(factor, self.normal.centre.dtype) for factor in chosen)
        return eqx.tree_at(lambda posterior: (posterior.normal.prior, posterior.normal.noise), self, factors)

    def _squares(self) -> Squares:
        count, constant = gaussian_constants(self.loss)
        return Squares(self.data_squares, jnp.sum(self.normal.centre**2), count, constant)
