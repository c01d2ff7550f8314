"""The shape of each trace, whatever its amplitude."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, PyTree, Scalar, Shaped

from ._base import AbstractDataLoss
from ._data import measured, predicted


class NormalisedCorrelation(AbstractDataLoss):
    r"""The correlation of each predicted trace with the measured one: phases count, amplitudes do not.

    $$\sum_\text{traces} \tfrac12 \|d\|^2 \left\| \frac{p}{\|p\|} - \frac{d}{\|d\|} \right\|^2
      = \sum_\text{traces} \|d\|^2 \left(1 - \frac{\langle p, d \rangle}{\|p\| \|d\|}\right),$$

    with norms over one axis and every entry divided by its `sigma`. A prediction times any positive number of each
    trace's own has the same loss. For amplitudes that are not known (coupling of a receiver, gain, a source's strength)
    or not modelled (attenuation, the third dimension). With noise of standard deviation `sigma` it agrees to leading
    order with least squares after the best amplitude of each trace.

    With a `sigma` that is proportional to the norm of each trace all traces count alike.

    **Arguments:**

    - `predict`, `data`, `sigma`: as for `LeastSquares`.
    - `axis`: along which a trace runs, of every leaf of the data: 0 for the output of `kp.solve` (times first).

    A trace whose data are all left out, or all zero, does not count. A predicted trace that is exactly zero has the
    loss `½ ‖d‖²` and no derivative; it is given the derivative zero.

    **Raises:** `ValueError` as for `LeastSquares`, and for data without such an axis.
    """

    predict: Callable[[Any], PyTree]
    data: PyTree[Shaped[Array, "..."]]
    sigma: PyTree[Shaped[Array, "..."]]
    axis: int = eqx.field(static=True)

    def __init__(self, predict: Callable[[Any], PyTree], data: PyTree = None, sigma: PyTree = None, axis: int = 0):
        self.predict = predict
        self.data, self.sigma = measured("NormalisedCorrelation", predict, data, sigma)
        self.axis = axis
        for leaf in jtu.tree_leaves(self.data):
            if not -leaf.ndim <= axis < leaf.ndim:
                message = f"NormalisedCorrelation: data of shape {leaf.shape} have no axis {axis}."
                raise ValueError(message)

    def residual(self, model: PyTree) -> PyTree[Array]:
        """`‖d‖ (p / ‖p‖ - d / ‖d‖)`, a pytree like the data; 0 where `sigma` is infinite."""
        prediction = predicted("NormalisedCorrelation", self.predict, model, self.data)

        def compare(p: Array, d: Array, sigma: Array) -> Array:
            scaled, measured_trace = _scaled(p, sigma), _scaled(d.astype(p.dtype), sigma)
            length = _norm(measured_trace, self.axis)
            return length.astype(p.dtype) * _direction(scaled, self.axis) - measured_trace

        return jtu.tree_map(compare, prediction, self.data, self.sigma)

    @property
    def num_data(self) -> Scalar:
        """How many data count: those of finite `sigma` in traces that are not zero. A float."""
        counts = [jnp.sum(counted & alive, dtype=dtype) for counted, alive, dtype in self._traces()]
        return sum(counts[1:], counts[0])

    @property
    def expected_value(self) -> Scalar:
        """Half of the data less one for each trace, whose amplitude is free."""
        traces = [jnp.sum(alive, dtype=dtype) for _, alive, dtype in self._traces()]
        return (self.num_data - sum(traces[1:], traces[0])) / 2

    def _traces(self) -> list[tuple[Array, Array, Any]]:
        """For each leaf, which data have a finite `sigma`, which traces are not zero, and the precision."""
        return [
            (jnp.broadcast_to(jnp.isfinite(s), d.shape), _norm(_scaled(d, s), self.axis) > 0, s.dtype)
            for d, s in zip(jtu.tree_leaves(self.data), jtu.tree_leaves(self.sigma), strict=True)
        ]


def _scaled(values: Array, sigma: Array) -> Array:
    counted = jnp.isfinite(sigma)
    return jnp.where(counted, values, 0) / jnp.where(counted, sigma, 1).astype(values.dtype)


def _norm(trace: Array, axis: int) -> Array:
    """The norm along an axis, kept; its derivative at zero is zero."""
    square = jnp.sum(jnp.real(trace * jnp.conj(trace)), axis=axis, keepdims=True)
    positive = square > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1)), 0)


def _direction(trace: Array, axis: int) -> Array:
    length = _norm(trace, axis)
    return trace / jnp.where(length > 0, length, 1).astype(trace.dtype)
