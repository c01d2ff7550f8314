"""Polynomials of an operator: fourth-order diffusion, Kuramoto and Sivashinsky's linear part."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
import numpy as np
from jaxtyping import Array, Inexact, PyTree, Real

from .._custom_types import Structure
from ..grid import as_parameter
from ._base import AbstractOperator, real_dtype
from ._precision import cast
from ._properties import is_self_adjoint, spectral_bound as spectral_bound_of, weight as weight_of
from ._spectral_interval import Interval, spectral_interval
from ._tags import self_adjoint_tag

# Points at which a polynomial of degree above 3 is looked at, for each degree.
_POINTS = 2048


class PolynomialOperator(AbstractOperator):
    r"""`c_0 + c_1 A + c_2 A² + … ` of a square operator, with everything that follows from what is known of `A`.

    Self-adjoint where `A` is, in the same weight, with the range of the polynomial on `A`'s interval as its spectral
    interval. A product that is written `A @ A` does not know this: lineax sees two operators there, and nothing tells
    that they commute. By Horner's rule, in as many applications of `A` as the degree.

    !!! Example

        ```python
        laplacian = kp.Laplacian(grid, kp.Periodic())
        linear = kp.PolynomialOperator(laplacian, (0.0, -1.0, -1.0))     # -u_xx - u_xxxx
        ```
    """

    operator: lx.AbstractLinearOperator
    coefficients: Real[Array, " degree_plus_1"]

    def __init__(self, operator: lx.AbstractLinearOperator, coefficients: Any):
        """A polynomial of an operator.

        **Arguments:**

        - `operator`: `A`, square.
        - `coefficients`: real numbers, that of the identity first; parameters, which derivatives reach.

        **Raises:**

        `TypeError` for something that is not an operator; `ValueError` for one that is not square, and for coefficients
        that are not a list of real numbers.
        """
        if not isinstance(operator, lx.AbstractLinearOperator):
            message = (
                f"`PolynomialOperator(operator, ...)` takes a lineax linear operator, got {type(operator).__name__}."
            )
            raise TypeError(message)
        domain, image = operator.in_structure(), operator.out_structure()
        if jtu.tree_map(lambda leaf: leaf.shape, domain) != jtu.tree_map(lambda leaf: leaf.shape, image):
            message = f"`PolynomialOperator(operator, ...)` needs a square operator: this one maps {domain} to {image}."
            raise ValueError(message)
        if isinstance(coefficients, Sequence):
            coefficients = jnp.stack([jnp.asarray(c, jnp.result_type(float)) for c in coefficients])
        array = as_parameter(coefficients, "PolynomialOperator(coefficients)")
        if array.ndim != 1 or array.size == 0 or jnp.iscomplexobj(array):
            message = (
                f"`PolynomialOperator(coefficients)` must be a list of real numbers, got {array.dtype}{array.shape}."
            )
            raise ValueError(message)
        self.operator = operator
        self.coefficients = array

    def mv(self, vector: PyTree[Inexact[Array, "..."]]) -> PyTree[Inexact[Array, "..."]]:
        """`c_0 v + A (c_1 v + A (c_2 v + …))`."""

        def times(number: Array) -> PyTree[Array]:
            return jtu.tree_map(lambda leaf: cast(number, np.finfo(leaf.dtype).dtype).astype(leaf.dtype) * leaf, vector)

        result = times(self.coefficients[-1])
        for number in self.coefficients[-2::-1]:
            result = jtu.tree_map(jnp.add, self.operator.mv(result), times(number))
        return result

    def transpose(self) -> "PolynomialOperator":
        """The same polynomial of the transpose."""
        return PolynomialOperator(self.operator.transpose(), self.coefficients)

    def in_structure(self) -> Structure:
        """That of `A`."""
        return self.operator.in_structure()

    def out_structure(self) -> Structure:
        """That of `A`."""
        return self.operator.out_structure()

    @property
    def weight(self) -> PyTree:
        """That of `A`."""
        return weight_of(self.operator)

    @property
    def tags(self) -> frozenset[object]:
        """Self-adjoint where `A` is."""
        return frozenset({self_adjoint_tag}) if is_self_adjoint(self.operator) else frozenset()

    @property
    def spectral_bound(self) -> Array | None:
        """The larger end of the interval, where one is known; else `Σ |c_k| bound^k`."""
        interval = spectral_interval(self)
        if interval is not None:
            return jnp.maximum(*map(jnp.abs, interval))
        bound = spectral_bound_of(self.operator)
        if bound is None:
            return None
        bound = jnp.asarray(bound)
        return _horner(jnp.abs(cast(self.coefficients, bound.dtype)), bound)


@spectral_interval.register(PolynomialOperator)
def _(operator: PolynomialOperator) -> Interval | None:
    base = spectral_interval(operator.operator) if is_self_adjoint(operator.operator) else None
    if base is None:
        return None
    # An interval is a constant to every derivative.
    coefficients, *ends = jax.lax.stop_gradient((operator.coefficients, *base))
    dtype = np.result_type(real_dtype(operator.in_structure()), ends[0].dtype)
    coefficients, lower, upper = (cast(number, dtype) for number in (coefficients, *ends))
    return polynomial_range(coefficients, lower, upper)


def polynomial_range(coefficients: Array, lower: Array, upper: Array) -> Interval:
    """Numbers between which a real polynomial stays on an interval.

    Exact up to degree three, from the ends and the zeros of the derivative. Above, from values at Chebyshev's points:
    between `N` of them a polynomial of degree `d` exceeds its largest value by a factor of at most `1 / cos(πd / 2N)`
    (Ehlich, Zeller 1964).
    """
    degree = coefficients.size - 1
    if degree <= 3:
        points, factor = _turning_points(coefficients, lower, upper), 1.0
    else:
        count = _POINTS * degree
        cosines = np.cos((np.arange(count) + 0.5) * np.pi / count)
        points = 0.5 * (upper + lower) + 0.5 * (upper - lower) * jnp.asarray(cosines, lower.dtype)
        factor = float(1.0 / np.cos(0.5 * np.pi * degree / count))
    values = _horner(coefficients, points)
    least, largest = jnp.min(values), jnp.max(values)
    size = _horner(jnp.abs(coefficients), jnp.maximum(jnp.abs(lower), jnp.abs(upper)))
    room = 0.5 * (factor - 1.0) * (largest - least) + 16 * float(np.finfo(lower.dtype).eps) * size
    return least - room, largest + room


def _turning_points(coefficients: Array, lower: Array, upper: Array) -> Array:
    """The ends, and the zeros of the derivative; clipped to the interval, where any point is a value of the range."""
    padded = jnp.concatenate([coefficients, jnp.zeros(4 - coefficients.size, coefficients.dtype)])
    c, b, a = padded[1], 2.0 * padded[2], 3.0 * padded[3]
    root = jnp.sqrt(jnp.maximum(b**2 - 4.0 * a * c, 0.0))
    # Without the difference of two numbers that may be alike; `q = 0` only where `b = 0 = a c`.
    q = -0.5 * (b + jnp.where(b < 0, -root, root))
    zeros = jnp.stack([_divide(q, a), _divide(c, q)])
    return jnp.concatenate([jnp.stack([lower, upper]), jnp.clip(zeros, lower, upper)])


def _divide(numerator: Array, denominator: Array) -> Array:
    safe = jnp.where(denominator == 0, 1.0, denominator)
    return jnp.where(denominator == 0, 0.0, numerator / safe)


def _horner(coefficients: Array, x: Array) -> Array:
    result = jnp.full_like(x, coefficients[-1])
    for number in coefficients[-2::-1]:
        result = result * x + number
    return result
