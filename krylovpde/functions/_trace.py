"""Traces and log-determinants by stochastic Lanczos quadrature."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from .._solution import RESULTS, Statistics, raise_unless_successful
from ..action._base import check_max_dimension
from ..action._reduction import lift
from ..integrate._entrance import real_dtype, tolerances
from ..krylov._operand import matching_weight, split
from ._multiply import capacity_for, check_self_adjoint, input_like, statistics
from ._probes import Kind, draw, orthonormal_basis, projected
from ._quadrature import QuadratureSettings, folded, quadratic_forms, unfolded, worst
from ._ritz import SpaceSettings, evaluate, ritz_space
from ._scalar import AbstractScalarFunction, Inverse, Logarithm

# By default this much: the error by chance is far larger.
_RTOL = 1e-4
# The bases of a batch of probes take at most this many bytes: large fields go one by one.
_BATCH_BYTES = 2**26


class TraceEstimate(eqx.Module):
    """A trace by random probes.

    * `value`: the estimate.
    * `standard_error`: of `value`, by chance: from the spread of the probes.
    * `result`: a member of [`krylovpde.RESULTS`][]; `successful` if every space met the tolerance.
    * `stats`: [`krylovpde.Statistics`][] of all probes; `error_estimate` is that of the worst `f(A) z`, of which the
        quadrature's own is about the square.

    `value` and `standard_error` have derivatives.
    """

    value: Float[Array, "*batch"]
    standard_error: Float[Array, "*batch"]
    result: RESULTS
    stats: Statistics

    @property
    def successful(self) -> Bool[Array, "*batch"]:
        """Whether the tolerance was met by every probe."""
        return self.result == RESULTS.successful


class _Options(eqx.Module):
    quadrature: QuadratureSettings
    num_probes: int = eqx.field(static=True)
    deflation: int = eqx.field(static=True)
    probes: Kind = eqx.field(static=True)


def trace(
    operator: lx.AbstractLinearOperator,
    function: AbstractScalarFunction,
    key: PRNGKeyArray,
    *,
    num_probes: int = 32,
    probes: Kind = "rademacher",
    deflation: int = 0,
    rtol: float | None = None,
    max_dimension: int | None = None,
    throw: bool = True,
) -> TraceEstimate:
    r"""$\operatorname{tr} f(A)$ of a self-adjoint operator by stochastic Lanczos quadrature.

    $$\operatorname{tr} f(A) \approx \frac1p \sum_{k=1}^p \langle z_k, f(A) z_k \rangle, \qquad
    \langle z, f(A) z\rangle \approx \|z\|^2\, e_1^\top f(T_m) e_1,$$

    with independent probes of mean zero and covariance $M^{-1}$ in the operator's weight $M$. With `deflation=k` an
    orthonormal basis $Q$ of the span of $f(A)$ times $k$ normal vectors is split off: its part
    $\sum_j \langle q_j, f(A) q_j\rangle$ is exact, and the probes are projected on the rest. That pays where $f(A)$ has
    few large eigenvalues, and costs as much as $2k$ probes.

    The derivative is that of the estimate, at fixed probes and fixed $Q$, in the operator's parameters: by the
    two-sided rule, with one vector–Jacobian product for each basis vector of each probe. It is reverse-mode and of
    first order.

    **Arguments:**

    - `operator`: $A$, known to be self-adjoint in its weight; real, or complex Hermitian.
    - `function`: [`krylovpde.functions.Logarithm`][], [`krylovpde.functions.Inverse`][],
        [`krylovpde.functions.SquareRoot`][], [`krylovpde.functions.InverseSquareRoot`][],
        [`krylovpde.functions.Exponential`][], or one of your own.
    - `key`: of the random numbers. The same key gives the same probes: an optimiser wants that.
    - `num_probes`: at least 2.
    - `probes`: `"rademacher"` (signs) or `"normal"`, whose variance is larger by that of the diagonal of $f(A)$.
    - `deflation`: how many directions are split off, at most the number of unknowns.
    - `rtol`: of `f(A) z` relative to its length; by default 1e-4.
    - `max_dimension`: how many vectors may be stored for one probe; by default as many as fit into 256 MiB, between 32
        and 256. Probes run side by side while their bases together fit into 64 MiB.
    - `throw`: raise if a space did not meet the tolerance; otherwise look at `result`, and gradients are NaN.

    **Returns:**

    A [`krylovpde.functions.TraceEstimate`][].

    **Raises:**

    Those of [`krylovpde.functions.sqrt_multiply`][], and `ValueError` for numbers of probes that make no sense.

    !!! cite "Sources"

        Ubaru, Chen, Saad, *Fast estimation of tr(f(A)) via stochastic Lanczos quadrature* (2017); deflation as in
        Meyer, Musco, Musco, Woodruff, *Hutch++: Optimal stochastic trace estimation* (2021).
    """
    if not isinstance(function, AbstractScalarFunction):
        message = (
            "`functions.trace(operator, function, ...)` takes a scalar function that knows its divided differences, "
            f"such as krylovpde.functions.Logarithm(), got a {type(function).__name__}."
        )
        raise TypeError(message)
    settings = (num_probes, probes, deflation, rtol, max_dimension, throw)
    return _estimate("functions.trace", (function,), operator, key, *settings)


def log_determinant(
    operator: lx.AbstractLinearOperator,
    key: PRNGKeyArray,
    *,
    num_probes: int = 32,
    probes: Kind = "rademacher",
    deflation: int = 0,
    rtol: float | None = None,
    max_dimension: int | None = None,
    consistent: bool = False,
    throw: bool = True,
) -> TraceEstimate:
    r"""$\log\det A = \operatorname{tr}\log A$ of a positive definite operator by stochastic Lanczos quadrature.

    [`krylovpde.functions.trace`][] of the logarithm, with a cheaper derivative: by the same probes,

    $$\mathrm d \log\det A = \operatorname{tr} A^{-1} \mathrm dA \approx
    \frac1p \sum_k \langle z_k, \mathrm dA\, A^{-1} z_k \rangle,$$

    with $A^{-1} z_k$ from the space of the probe, which grows until that meets the tolerance too: one vector–Jacobian
    product for each probe. It has the right mean, but it is not the derivative of the estimate: the two differ by
    chance, as much as each does from the truth. A line search near a minimum may want `consistent=True`.

    **Arguments:**

    - `operator`: $A$, known to be self-adjoint in its weight, and positive definite.
    - `key`, `num_probes`, `probes`, `deflation`, `rtol`, `max_dimension`, `throw`: as for
        [`krylovpde.functions.trace`][].
    - `consistent`: the derivative of the estimate itself, by the two-sided rule, at the cost of as many vector–Jacobian
        products as there are basis vectors, and of building the spaces once more.

    **Returns:**

    A [`krylovpde.functions.TraceEstimate`][].

    **Raises:**

    Those of [`krylovpde.functions.trace`][]; an eigenvalue that is not positive is a failed result.
    """
    functions = (Logarithm(),) if consistent else (Logarithm(), Inverse())
    settings = (num_probes, probes, deflation, rtol, max_dimension, throw)
    return _estimate("functions.log_determinant", functions, operator, key, *settings)


def _estimate(name, functions, operator, key, num_probes, probes, deflation, rtol, max_dimension, throw):
    check_self_adjoint(operator, name)
    check_max_dimension(max_dimension)
    like = input_like(operator, name)
    _check_probes(name, num_probes, probes, deflation, sum(leaf.size for leaf in jtu.tree_leaves(like)))
    rtol, _ = tolerances(_RTOL if rtol is None else rtol, 0.0, real_dtype(like))
    space = SpaceSettings(functions, capacity_for(like, max_dimension), rtol, throw)
    batch = _batch_size(like, space.capacity, num_probes + deflation)
    options = _Options(QuadratureSettings(space, batch), num_probes, deflation, probes)
    value, standard_error, result, stats = _compiled(options, operator, like, key)
    if throw:
        value, standard_error = raise_unless_successful(result, (value, standard_error))
    return TraceEstimate(value, standard_error, result, stats)


def _check_probes(name: str, num_probes: Any, probes: Any, deflation: Any, size: int):
    if not isinstance(num_probes, int) or num_probes < 2:
        message = (
            f"`{name}(num_probes=...)` must be an integer of at least 2 (for a standard error), got {num_probes!r}."
        )
        raise ValueError(message)
    if probes not in ("rademacher", "normal"):
        message = f'`{name}(probes=...)` must be "rademacher" or "normal", got {probes!r}.'
        raise ValueError(message)
    if not isinstance(deflation, int) or not 0 <= deflation <= size:
        message = f"`{name}(deflation=...)` must be an integer between 0 and the {size} unknowns, got {deflation!r}."
        raise ValueError(message)


def _batch_size(like: PyTree[Array], capacity: int, count: int) -> int:
    """How many starts at once: a divisor of their number, so that there is one program for all batches."""
    width = sum(leaf.size * leaf.dtype.itemsize for leaf in jtu.tree_leaves(like))
    most = max(_BATCH_BYTES // max(width * capacity, 1), 1)
    return max(k for k in range(1, count + 1) if count % k == 0 and k <= most)


@eqx.filter_jit
def _compiled(options: _Options, operator: lx.AbstractLinearOperator, like: PyTree[Array], key: PRNGKeyArray):
    weight = matching_weight(operator, like)
    range_key, probe_key = jax.random.split(key)
    starts = draw(options.probes, probe_key, like, weight, options.num_probes)
    if options.deflation:
        basis = _range_of(options, operator, like, range_key)
        starts = jtu.tree_map(lambda a, b: jnp.concatenate([a, b]), basis, projected(starts, basis, weight))
    parameters, arrays, rest = split(operator)
    outcome: Any = quadratic_forms(options.quadrature, rest, parameters, arrays, jax.lax.stop_gradient(starts))
    forms, report = outcome
    exact, chances = jnp.sum(forms[: options.deflation]), forms[options.deflation :]
    standard_error = _spread(chances) / math.sqrt(options.num_probes)
    adjoint = "one space" if options.quadrature.by_derivative else "two sides of one space"
    stats = statistics(jnp.sum(report.dimension), jnp.max(report.dimension), jnp.max(report.error), adjoint)
    return exact + jnp.mean(chances), standard_error, worst(report.result), stats


def _spread(forms: Float[Array, " count"]) -> Float[Array, ""]:
    """The standard deviation, with a derivative also where all are equal."""
    variance = jnp.sum((forms - jnp.mean(forms)) ** 2) / (forms.size - 1)
    return jnp.where(variance > 0, jnp.sqrt(jnp.where(variance > 0, variance, 1.0)), 0.0)


def _range_of(options: _Options, operator: lx.AbstractLinearOperator, like: PyTree, key: PRNGKeyArray) -> PyTree:
    """The directions that are split off; constants to every derivative."""
    parameters, rest = eqx.partition(operator, eqx.is_inexact_array)
    operator = eqx.combine(jax.lax.stop_gradient(parameters), rest)
    weight = matching_weight(operator, like)
    space_settings = options.quadrature.space

    def image(start: PyTree[Array]) -> PyTree[Array]:
        space = ritz_space(space_settings, operator, weight, start)
        return lift(space, evaluate(space_settings.functions[0], space).coefficients)

    batch = _batch_size(like, space_settings.capacity, options.deflation)
    starts = draw("normal", key, like, weight, options.deflation)
    images = unfolded(jax.lax.map(jax.vmap(image), folded(starts, batch)))
    return jax.lax.stop_gradient(orthonormal_basis(images, weight))
