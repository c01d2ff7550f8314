"""Scalar functions, as functions of a matrix and their derivatives need them."""

import abc
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._solution import RESULTS

# Beyond this many units of rounding a negative Ritz value is not rounding. On covariances in single precision -40
# units were seen.
_NEGATIVE_UNITS = 1000.0


class AbstractScalarFunction(eqx.Module):
    r"""A real function of the eigenvalues of a self-adjoint operator: $f$ and $f[x, y]$.

    `f[x, y] = (f(x) - f(y)) / (x - y)`, and `f'(x)` where they are equal, in a form that does not cancel: the
    derivative of `f(A)` consists of these numbers. The error of $\|v\|\, V_m f(T_m) e_1$ is at most
    $\|v\|\, h\, |e_m^\top f[T_m, a]\, e_1|$, with `a` the point of the spectrum at which $f'$ is largest: for
    $f(x) = \int \mathrm d\mu(s) / (x + s)$ the residuals of all shifted systems have one sign, and so have the entries
    $e_m^\top \exp(\tau T_m) e_1$.

    * `value(x)`, `divided_difference(x, y)`: of admissible numbers, elementwise.
    * `admissible(values, unit)`: the Ritz values as the function takes them, known to about `unit`.
    * `anchor(values)`: `a`, from admissible values.
    * `scale(length, norm)`: what the tolerance is relative to, from the lengths of `f(A) v` and `v`.
    * `refuses(lowest, unit)`: whether an operator with this lowest Ritz value is none of the function's.
    * `refusal`: the result that says so.
    """

    refusal: eqx.AbstractClassVar[RESULTS]

    @abc.abstractmethod
    def value(self, x: Float[Array, "*n"]) -> Float[Array, "*n"]: ...

    @abc.abstractmethod
    def divided_difference(self, x: Float[Array, "..."], y: Float[Array, "..."]) -> Float[Array, "..."]: ...

    @abc.abstractmethod
    def admissible(self, values: Float[Array, " n"], unit: Float[Array, ""]) -> Float[Array, " n"]: ...

    @abc.abstractmethod
    def anchor(self, values: Float[Array, " n"]) -> Float[Array, ""]: ...

    @abc.abstractmethod
    def scale(self, length: Float[Array, ""], norm: Float[Array, ""]) -> Float[Array, ""]: ...

    @abc.abstractmethod
    def refuses(self, lowest: Float[Array, ""], unit: Float[Array, ""]) -> Bool[Array, ""]: ...


class SquareRoot(AbstractScalarFunction):
    """`sqrt(x)` of a positive semidefinite operator; `f[x, y] = 1 / (sqrt x + sqrt y)`.

    Ritz values that are rounding, of either sign, count as zero. At zero there is no derivative: `f[0, 0]` is left out.
    """

    refusal: ClassVar[RESULTS] = RESULTS.not_semidefinite

    def value(self, x: Float[Array, "*n"]) -> Float[Array, "*n"]:
        return jnp.sqrt(x)

    def divided_difference(self, x: Float[Array, "..."], y: Float[Array, "..."]) -> Float[Array, "..."]:
        total = jnp.sqrt(x) + jnp.sqrt(y)
        return jnp.where(total > 0, 1.0 / jnp.where(total > 0, total, 1.0), 0.0)

    def admissible(self, values: Float[Array, " n"], unit: Float[Array, ""]) -> Float[Array, " n"]:
        return jnp.where(values > unit, values, 0.0)

    def anchor(self, values: Float[Array, " n"]) -> Float[Array, ""]:
        return jnp.zeros((), values.dtype)

    def scale(self, length: Float[Array, ""], norm: Float[Array, ""]) -> Float[Array, ""]:
        return length

    def refuses(self, lowest: Float[Array, ""], unit: Float[Array, ""]) -> Bool[Array, ""]:
        return lowest < -_NEGATIVE_UNITS * unit


class AbstractDefiniteFunction(AbstractScalarFunction):
    """One that has a singularity at zero, and is a function of positive definite operators."""

    refusal: ClassVar[RESULTS] = RESULTS.not_definite

    def admissible(self, values: Float[Array, " n"], unit: Float[Array, ""]) -> Float[Array, " n"]:
        # What is not positive is refused; meanwhile its function has to be a number.
        return jnp.maximum(values, jnp.maximum(unit, jnp.finfo(values.dtype).tiny))

    def anchor(self, values: Float[Array, " n"]) -> Float[Array, ""]:
        return jnp.min(values)

    def scale(self, length: Float[Array, ""], norm: Float[Array, ""]) -> Float[Array, ""]:
        return length

    def refuses(self, lowest: Float[Array, ""], unit: Float[Array, ""]) -> Bool[Array, ""]:
        return lowest <= unit


class InverseSquareRoot(AbstractDefiniteFunction):
    """`1 / sqrt(x)` of a positive definite operator; `f[x, y] = -1 / (sqrt(x y) (sqrt x + sqrt y))`."""

    def value(self, x: Float[Array, "*n"]) -> Float[Array, "*n"]:
        return 1.0 / jnp.sqrt(x)

    def divided_difference(self, x: Float[Array, "..."], y: Float[Array, "..."]) -> Float[Array, "..."]:
        first, second = jnp.sqrt(x), jnp.sqrt(y)
        return -1.0 / (first * second * (first + second))


class Inverse(AbstractDefiniteFunction):
    """`1 / x` of a positive definite operator; `f[x, y] = -1 / (x y)`."""

    def value(self, x: Float[Array, "*n"]) -> Float[Array, "*n"]:
        return 1.0 / x

    def divided_difference(self, x: Float[Array, "..."], y: Float[Array, "..."]) -> Float[Array, "..."]:
        return -1.0 / (x * y)


class Logarithm(AbstractDefiniteFunction):
    """`log(x)` of a positive definite operator; `f[x, y] = 2 artanh(u) / (u (x + y))` with `u = (x - y) / (x + y)`.

    The logarithm of the identity is zero: tolerances are relative to the longer of `log(A) v` and `v`.
    """

    def value(self, x: Float[Array, "*n"]) -> Float[Array, "*n"]:
        return jnp.log(x)

    def divided_difference(self, x: Float[Array, "..."], y: Float[Array, "..."]) -> Float[Array, "..."]:
        ratio = (x - y) / (x + y)
        # Past a half the logarithms differ by more than one and their difference does not cancel; artanh would.
        far = jnp.abs(ratio) > 0.5
        apart = jnp.where(far, x - y, 1.0)
        near = jnp.where(far | (ratio == 0), 0.5, ratio)
        slope = jnp.where(ratio == 0, 1.0, jnp.arctanh(near) / near)
        return jnp.where(far, (jnp.log(x) - jnp.log(y)) / apart, 2.0 * slope / (x + y))

    def scale(self, length: Float[Array, ""], norm: Float[Array, ""]) -> Float[Array, ""]:
        return jnp.maximum(length, norm)


class Exponential(AbstractScalarFunction):
    """`exp(x)` of any self-adjoint operator, for traces; `f[x, y] = exp(x) (1 - exp(y - x)) / (x - y)` for `x > y`."""

    refusal: ClassVar[RESULTS] = RESULTS.nonfinite

    def value(self, x: Float[Array, "*n"]) -> Float[Array, "*n"]:
        return jnp.exp(x)

    def divided_difference(self, x: Float[Array, "..."], y: Float[Array, "..."]) -> Float[Array, "..."]:
        # From the larger one down: nothing overflows that the exponential itself does not.
        gap = jnp.abs(x - y)
        slope = jnp.where(gap == 0, 1.0, -jnp.expm1(-gap) / jnp.where(gap == 0, 1.0, gap))
        return jnp.exp(jnp.maximum(x, y)) * slope

    def admissible(self, values: Float[Array, " n"], unit: Float[Array, ""]) -> Float[Array, " n"]:
        return values

    def anchor(self, values: Float[Array, " n"]) -> Float[Array, ""]:
        return jnp.max(values)

    def scale(self, length: Float[Array, ""], norm: Float[Array, ""]) -> Float[Array, ""]:
        return length

    def refuses(self, lowest: Float[Array, ""], unit: Float[Array, ""]) -> Bool[Array, ""]:
        return jnp.zeros((), bool)
