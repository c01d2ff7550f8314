"""The Taylor test: whether the derivative that JAX computes is the derivative of the function."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree

from ._random import machine_epsilon, rough, rough_direction

_LARGEST_STEP = 0.1
_NUM_STEPS = 13
_POINTS = 6  # the regression uses the smallest steps, up to six: the largest are not yet asymptotic
_ORDER_SLACK = 0.2
_ROUNDING = 100  # units of the last place that a value may be wrong by, before anything is read into it


class TaylorReport(eqx.Module):
    """What [`krylovpde.verify.taylor_test`][] found. `print` it for the table.

    * `steps`: the step lengths `h`, decreasing.
    * `remainders`: `|f(x + h d) - f(x) - h f'(x) d|` at each step (with `h² f''(x) d d / 2` taken off, too, for a
      second-order test).
    * `orders`: the observed order between each step and the next, one number fewer.
    * `order`: the order by regression over the smallest steps above the floor; NaN where too few are above it.
    * `expected_order`: 2, or 3 for a second-order test.
    * `floor`: remainders below this say nothing: it is the accuracy of the function itself.
    * `derivative_error`: the relative error of the derivative along `d` is at most about this; no more was measured.
    * `adjoint_mismatch`: for a function with several outputs, the relative difference of `<w, J d>` by forward mode
      and by reverse mode; None for a scalar function, whose remainders are taken with reverse mode throughout.
    * `passed`, and the `verdict` in words.
    """

    steps: np.ndarray
    remainders: np.ndarray
    orders: np.ndarray
    order: float
    expected_order: int
    size: float
    floor: float
    derivative_error: float
    adjoint_mismatch: float | None
    passed: bool
    verdict: str

    def __str__(self) -> str:
        """The table of steps, remainders and orders, and the verdict."""
        rows = [f"{'step':>10} {'remainder':>12} {'order':>7}"]
        for step, remainder, order in zip(self.steps, self.remainders, [math.nan, *self.orders], strict=True):
            mark = "" if remainder > self.floor else "  (below the floor)"
            rows.append(f"{step:10.2e} {remainder:12.4e} {'' if math.isnan(order) else f'{order:.2f}':>7}{mark}")
        return "\n".join([*rows, f"{'passed' if self.passed else 'FAILED'}: {self.verdict}"])


def taylor_test(
    function: Callable[[Any], PyTree],
    point: PyTree,
    *,
    key: PRNGKeyArray,
    direction: PyTree | None = None,
    second_order: bool = False,
    rtol: float | None = None,
) -> TaylorReport:
    """Compare a function along a rough random direction `d` with its Taylor polynomial.

        f(x + h d) - f(x) - h f'(x) d = O(h²),      and O(h³) with the term h²/2 f''(x) d d

    A wrong derivative leaves a remainder of order 1 however small its error; the order is therefore measured down to
    the smallest step at which the remainder still stands above the function's own accuracy. For a scalar function
    `f'(x) d` comes from **reverse mode** (`jax.vjp`), which is what an optimiser uses. For a function with a pytree of
    outputs it comes from `jax.jvp`, and reverse mode is compared with that.

    **Arguments:**

    - `function`: from a pytree to a real scalar, or to a pytree of arrays. It must be finite within about 10 % of
      `point`: a parameter that has to stay positive should vary little, or enter through a transform.
    - `point`: `x`, a pytree. Its floating-point and complex arrays are varied (Equinox modules are fine).
    - `key`: for the random numbers.
    - `direction`: `d`, like the arrays of `point`; random and rough if not given. A smooth direction can pass where
      the derivative is useless: give one only to ask about that direction.
    - `second_order`: test the Hessian along `d`, too (forward mode over reverse mode).
    - `rtol`: relative accuracy of the function's values, for instance the `rtol` of the solve in it. If not given, the
      test is first made down to rounding, then, if that fails, with the accuracy of the package's default tolerance
      (1e-6 in double and 1e-4 in single precision), and then with that at which the remainders stop falling.

    **Returns:**

    A [`krylovpde.verify.TaylorReport`][]; see `.passed`.

    **Raises:** `ValueError` if `point` has no array to vary or the function no output to compare.
    """
    point = jnp.asarray(point) if isinstance(point, (float, complex)) else point
    variable, rest = eqx.partition(point, eqx.is_inexact_array)
    variable = jtu.tree_map(jnp.asarray, variable)
    if not jtu.tree_leaves(variable):
        message = "taylor_test: `point` has no floating-point or complex array; pass the parameters as arrays."
        raise ValueError(message)

    def restricted(x: PyTree[Array]) -> PyTree[Array]:
        return eqx.filter(function(eqx.combine(x, rest)), eqx.is_inexact_array)

    direction_key, cotangent_key = jax.random.split(key)
    if direction is None:
        direction = rough_direction(direction_key, variable)
    else:
        given = eqx.filter(direction, eqx.is_inexact_array_like)
        direction = jtu.tree_map(lambda x, d: jnp.asarray(d, x.dtype), variable, given)
    value, terms, mismatch = _taylor_terms(restricted, variable, direction, cotangent_key, second_order)
    rounding = _ROUNDING * machine_epsilon(variable, value)
    value = _wide(value)

    def judge(accuracy: float, points: int = _POINTS) -> TaylorReport:
        steps = np.geomspace(_LARGEST_STEP, accuracy ** (1 / (len(terms) + 1)), _NUM_STEPS)
        remainders, size = _remainders(restricted, variable, direction, value, terms, steps)
        return _judge(steps, remainders, size, terms, accuracy, mismatch, points)

    if rtol is not None:
        return judge(max(rtol, rounding))
    sharp = judge(rounding)
    if sharp.passed:
        return sharp
    default = judge(1e-4 if rounding > 1e-8 else 1e-6)
    noise = _noise(sharp)
    return default if default.passed or noise is None else judge(noise, points=_NUM_STEPS)


def _noise(report: TaylorReport) -> float | None:
    """The accuracy of the function, read from the remainders of the smallest steps; None if these still fall.

    A wrong derivative makes remainders of order 1. Where they do not fall at all, they are what the function itself
    wiggles by.
    """
    steps, remainders = report.steps[-_POINTS:], report.remainders[-_POINTS:]
    if not np.all(np.isfinite(remainders) & (remainders > 0)):
        return None
    order = np.polyfit(np.log(steps), np.log(remainders), 1)[0]
    accuracy = 2 * np.max(remainders) / report.size
    return float(accuracy) if order < 0.5 and accuracy < _LARGEST_STEP**report.expected_order else None


def _taylor_terms(function, point, direction, key, second_order):
    """The value, the list of directional derivatives, and the mismatch of the two modes (None for a scalar)."""
    value = _displaced(function, point, direction, jnp.asarray(np.zeros(())))
    leaves = jtu.tree_leaves(value)
    if not leaves:
        message = "taylor_test: `function` returned no floating-point or complex array to compare."
        raise ValueError(message)
    if len(leaves) == 1 and leaves[0].shape == () and not jnp.iscomplexobj(leaves[0]):
        derivatives, mismatch = _scalar_derivatives(function, point, direction, second_order), None
    else:
        derivatives = _tree_derivatives(function, point, direction, second_order)
        mismatch = _adjoint_mismatch(function, point, direction, derivatives[0], rough(key, value))
    return value, [_wide(term) for term in derivatives], mismatch


@eqx.filter_jit
def _scalar_derivatives(function, point, direction, second_order):
    def gradient(x):
        value, pullback = jax.vjp(function, x)
        return pullback(jtu.tree_map(jnp.ones_like, value))[0]

    structure = jtu.tree_structure(jax.eval_shape(function, point))
    if not second_order:
        return [structure.unflatten([_pair(gradient(point), direction)])]
    slope, curvature = jax.jvp(gradient, (point,), (direction,))
    return [structure.unflatten([_pair(term, direction)]) for term in (slope, curvature)]


@eqx.filter_jit
def _tree_derivatives(function, point, direction, second_order):
    def along(x):
        return jax.jvp(function, (x,), (direction,))[1]

    return list(jax.jvp(along, (point,), (direction,))) if second_order else [along(point)]


@eqx.filter_jit
def _pulled(function, point, direction, cotangent):
    return _pair(jax.vjp(function, point)[1](cotangent)[0], direction)


def _adjoint_mismatch(function, point, direction, tangent, cotangent) -> float:
    """`|<w, J d> - <Jᵀ w, d>|`, relative to `‖w‖ ‖J d‖`."""
    reverse = float(_pulled(function, point, direction, cotangent))
    forward = float(_pair(cotangent, tangent))
    scale = _norm(_wide(cotangent)) * _norm(_wide(tangent))
    return abs(forward - reverse) / scale if scale else abs(reverse)


def _pair(cotangent: PyTree[Array], tangent: PyTree[Array]) -> Array:
    """`Re sum(w d)`: JAX's cotangents are not conjugated."""
    products = jtu.tree_map(lambda w, d: jnp.real(jnp.sum(w * d)), cotangent, tangent)
    return jtu.tree_reduce(lambda a, b: a + b.astype(a.dtype), products)


@eqx.filter_jit
def _displaced(function, point, direction, step):
    return function(jtu.tree_map(lambda x, d: x + step.astype(x.dtype) * d, point, direction))


def _remainders(function, point, direction, value, terms, steps) -> tuple[np.ndarray, float]:
    """The norm of the remainder at every step, in double precision, and the largest value met."""
    remainders, size = [], _norm(value)
    for step in steps:
        displaced = _wide(_displaced(function, point, direction, jnp.asarray(step)))
        remainder = [after - before for after, before in zip(displaced, value, strict=True)]
        for power, term in enumerate(terms, start=1):
            factor = step**power / math.factorial(power)
            remainder = [r - factor * t for r, t in zip(remainder, term, strict=True)]
        remainders.append(_norm(remainder))
        size = np.fmax(size, _norm(displaced))  # a step that left the function's domain gives NaN
    return np.array(remainders), float(size)


def _judge(steps, remainders, size, terms, accuracy, mismatch, points) -> TaylorReport:
    """Read the order from the remainders that stand above the accuracy of the function."""
    floor, expected_order = accuracy * size, len(terms) + 1
    last_term = _norm(terms[-1]) / math.factorial(len(terms))
    with np.errstate(divide="ignore", invalid="ignore"):
        orders = np.diff(np.log(remainders)) / np.diff(np.log(steps))
        sizes = steps ** len(terms) * last_term
        errors = np.where(np.isfinite(remainders), np.maximum(remainders, floor) / sizes, np.inf)
    derivative_error = float(np.nanmin(errors)) if last_term > 0 else math.inf
    usable = np.flatnonzero(np.isfinite(remainders) & (remainders > floor))[-points:]
    if len(usable) >= 3:
        # Near the floor the noise is part of the remainder, and the logarithm is known the less.
        weights = np.minimum(remainders[usable] / floor, 10.0) if floor else None
        order = float(np.polyfit(np.log(steps[usable]), np.log(remainders[usable]), 1, w=weights)[0])
        passed = order >= expected_order - _ORDER_SLACK
        verdict = f"observed order {order:.2f} over {len(usable)} steps, expected {expected_order}"
        if not passed:
            verdict += (
                f"; the derivative is wrong along this direction (relative error up to {derivative_error:.0e}), or the "
                f"function's values are less accurate than {accuracy:.0e} (pass the solver's tolerance as `rtol`)"
            )
    else:
        order = math.nan
        passed = bool(np.isfinite(size)) and derivative_error <= 1e-3
        verdict = f"the remainders are below the accuracy of the function; derivative right to {derivative_error:.1e}"
        if not passed:
            verdict = (
                f"nothing could be measured: along this direction the function changes by no more than {floor:.1e}, "
                "its own accuracy, or it is not finite; ask the solver for a tighter tolerance or give a `direction`"
            )
    if passed and mismatch is not None and not mismatch <= 100 * accuracy:
        passed = False
        verdict = f"forward mode is right, but reverse mode differs from it by {mismatch:.1e}"
    arrays = (steps, remainders, orders)
    return TaylorReport(*arrays, order, expected_order, size, floor, derivative_error, mismatch, passed, verdict)


def _wide(tree: PyTree[Array]) -> list[Any]:
    """The leaves in double precision, so that the comparison adds no rounding of its own."""
    leaves = [np.asarray(leaf) for leaf in jtu.tree_leaves(tree)]
    return [leaf.astype(np.complex128 if np.iscomplexobj(leaf) else np.float64) for leaf in leaves]


def _norm(leaves: list[Any]) -> float:
    return float(np.sqrt(sum(np.sum(np.abs(leaf) ** 2) for leaf in leaves)))
