r"""Functions of a stiff self-adjoint tridiagonal operator: the inverse Laplace transform on parabolas.

    u(t) = 1/(2πi) ∫ e^(zt) (z - A)⁻¹ Σ_l z^-l v_l dz,      z = a + μ (1 + iy)²,    y = (k + 1/2) h

solves `u' = A u + Σ_l v_l t^(l-1)/(l-1)!`, `u(0) = v_0`. The parabola goes around the spectrum left of `a`. Its poles
do not depend on t, so N solves serve every t in a window `[s, Λs]`. With `hN = √(8Λ + 1)` and `μ = π / (4Λhs)` the
parts of the error from both sides of the contour and from its ends are balanced (Weideman and Trefethen 2007), and the
error is

    2.1 C(N)^l / l! · exp(-2πN / √(8Λ + 1)),        C(N) = 8.5 N √Λ

relative to the function of level l, at any negative eigenvalue whatsoever (measured for Λ = 1 … 32 and l = 0, 1, 2; the
powers of C come from the pole at zero, which the contour has to tell from those of small eigenvalues).

The rule is a fixed rational function of A, and its derivative is as close to the derivative as it is to the function
(one level more in the estimate): JAX may differentiate the solves as they stand, in any mode and order.
"""

import functools
import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.flatten_util as jfu
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Inexact, Int, PyTree, Real

from ..krylov._space import norm
from ..operator import is_self_adjoint
from ._base import AbstractMethod
from ._batch import batch_any
from ._problem import Problem, Settings
from ._resolvent import growth_bound


class Contour(AbstractMethod):
    r"""The inverse Laplace transform on a parabola, for stiff one-dimensional problems with many output times.

    $e^{tA} v \approx \sum_k w_k e^{z_k t} (z_k - A)^{-1} v$ with a direct solve for each pole. The poles do not depend
    on the time: one set serves all output times in a window $[s, \Lambda s]$, and the error is bounded in advance for
    any self-adjoint $A$, whatever its spectral radius (Weideman and Trefethen 2007). Nothing is marched: each window
    starts from the initial state.

    Serves equations of first order whose operator is self-adjoint in its weight and tridiagonal: diffusion on
    one-dimensional grids that do not close, uniform, graded or radial, and `lineax.TridiagonalLinearOperator`; for
    durations that are not negative. It is the default of `solve` for those that are not uniform. For other operators
    with stiffness over decades there is [`krylovpde.ShiftInvert`][].

    On a radial grid of 400 cells around a well ($t\rho = 10^{11}$) with 67 output times over four decades a window
    takes 36 solves at `1e-6`, and the whole of them 180 in five windows.

    `stats.applications` counts the solves, `stats.num_steps` the windows, which `max_steps` bounds;
    `stats.krylov_dimension` is the number of poles. JAX differentiates the solves as they stand, in both modes and
    every order.

    **Arguments:**

    - `ratio`: $\Lambda$; poles grow as its root, windows shrink as its logarithm. 4 to 16 makes no difference.

    Adjoint: `DirectAdjoint`.
    """

    ratio: float = eqx.field(default=8.0, static=True)

    def __check_init__(self):
        if not self.ratio >= 1:
            message = f"`ratio` of Contour must be at least 1, but is {self.ratio}."
            raise ValueError(message)

    @property
    def name(self) -> str:
        return "Contour"

    @property
    def max_steps(self) -> int:
        return 32

    def check(self, operator: lx.AbstractLinearOperator) -> None:
        if not has_contour(operator):
            message = (
                "`method=Contour()` needs an operator that is self-adjoint in its weight and tridiagonal: diffusion on "
                f"a one-dimensional grid that does not close. {type(operator).__name__} is not. Use "
                "`krylovpde.ShiftInvert()` for stencils in more dimensions, else `method=None`."
            )
            raise ValueError(message)


def has_contour(operator: lx.AbstractLinearOperator) -> bool:
    """Whether `Contour` serves an operator; decided from static facts."""
    return is_self_adjoint(operator) and lx.is_tridiagonal(operator)


class Parabola(NamedTuple):
    """Half of the poles for the window `[1, ratio]`, their weights without `exp`, and an estimate of the error.

    * `truncation`: of the functions and their derivatives.   * `magnification`: of rounding.
    """

    poles: np.ndarray
    weights: np.ndarray
    truncation: float
    magnification: float


@functools.cache
def parabola(ratio: float, levels: int, tolerance: float) -> Parabola:
    """The fewest poles whose error is within the tolerance for functions of levels 0 to `levels`."""
    root = math.sqrt(8.0 * ratio + 1.0)
    count, truncation = 3, math.inf
    while truncation > tolerance:
        count += 1
        powers = [(8.5 * count * math.sqrt(ratio)) ** level / math.factorial(level) for level in range(levels + 1)]
        truncation = 2.1 * max(powers) * math.exp(-2.0 * math.pi * count / root)
    step = root / count
    y = (np.arange(count) + 0.5) * step
    size = math.pi / (4.0 * ratio * step)
    # The two halves are conjugate: 1/(2πi) dz = μ h (1 + iy) / π for each pole.
    poles, weights = size * (1.0 + 1j * y) ** 2, size * step / math.pi * (1.0 + 1j * y)
    return Parabola(poles, weights, truncation, math.exp(size * ratio))


class Windows(eqx.Module):
    """States at all times, how many windows they took with how many poles each, and whether the last time was reached.

    * `states`: like the state, with the times on a leading axis; NaN where not reached.
    * `error`: an estimate, relative as tolerances are.
    """

    states: PyTree[Array]
    count: Int[Array, ""]
    poles: int = eqx.field(static=True)
    error: Real[Array, ""]
    complete: Bool[Array, ""]


def contour_states(
    settings: Settings, problem: Problem, state: tuple[PyTree[Array], ...], times: Real[Array, " times"]
) -> Windows:
    """The solution at times of any order, none of them negative."""
    method = settings.method
    assert isinstance(method, Contour)
    flat = [jfu.ravel_pytree(part) for part in state]
    parts, unravel = [part for part, _ in flat], flat[0][1]
    eps = float(jnp.finfo(times.dtype).eps)
    ratio = float(method.ratio) if times.size > 1 else 1.0
    # One level more than the state has, for the derivative.
    rule = parabola(ratio, len(parts), max(settings.rtol, eps))
    bound = growth_bound(problem.operator).astype(times.dtype)
    window = jax.checkpoint(functools.partial(_window, rule, problem.operator, bound, parts, times))

    def serve(carry: tuple[Array, Array, Array], _: None):
        covered, values, count = carry
        first = lax.stop_gradient(jnp.min(jnp.where(times > covered, times, jnp.inf)))
        active, last = jnp.isfinite(first), ratio * first
        inside = (times > covered) & (times <= last)
        first = jnp.where(active, first, 1.0)
        values = lax.cond(
            batch_any(active), lambda values: values + window(first, inside), lambda values: values, values
        )
        return (jnp.where(active, last, covered), values, count + active.astype(jnp.int32)), None

    values = jnp.where((times == 0)[:, None], parts[0], jnp.zeros_like(parts[0]))
    carry = (jnp.zeros_like(times[0]), values, jnp.zeros((), jnp.int32))
    (covered, values, count), _ = lax.scan(serve, carry, None, length=min(times.size, settings.max_steps))
    reached = (times >= 0) & (times <= covered)
    states = jax.vmap(unravel)(jnp.where(reached[:, None], values, jnp.nan))
    error = (rule.truncation + 4.0 * eps * rule.magnification) * _growth(problem, state[0], states, bound, times)
    return Windows(states, count, rule.poles.size, lax.stop_gradient(error), jnp.all(reached))


def _window(
    rule: Parabola,
    operator: lx.AbstractLinearOperator,
    bound: Array,
    parts: list[Array],
    times: Array,
    first: Array,
    inside: Bool[Array, " times"],
) -> Inexact[Array, "times size"]:
    """The states at the times inside of a window that begins at `first`, zero at the others."""
    dtype = parts[0].dtype
    wide = np.result_type(dtype, np.complex64)
    poles, weights = jnp.asarray(rule.poles, wide), jnp.asarray(rule.weights, wide)
    if dtype == wide:
        poles, weights = jnp.concatenate([poles, poles.conj()]), jnp.concatenate([weights, weights.conj()])
    start = first.astype(wide)
    poles = poles / start + bound.astype(wide)
    entries = tuple(entry.astype(wide) for entry in lx.tridiagonal(operator))
    solved = jax.vmap(functools.partial(_solve, entries, [part.astype(wide) for part in parts]))(poles)
    reached = jnp.where(inside, times, 0.0).astype(wide)
    factors = jnp.where(inside[:, None], jnp.exp(poles * reached[:, None]) * weights / start, 0.0)
    values = jnp.matmul(factors, solved, precision=lax.Precision.HIGHEST)
    return values if dtype == wide else 2.0 * jnp.real(values)


def _solve(entries: tuple[Array, ...], parts: list[Array], pole: Array) -> Array:
    """`(z - A)⁻¹ Σ_l z^-l v_l`."""
    main, lower, upper = entries
    right = parts[-1]
    for part in parts[-2::-1]:
        right = part + right / pole
    matrix = lx.TridiagonalLinearOperator(pole - main, -lower, -upper)
    return lx.linear_solve(matrix, right, lx.Tridiagonal(), throw=False).value


def _growth(problem: Problem, start: PyTree[Array], states: PyTree[Array], bound: Array, times: Array) -> Array:
    """By how much more the operator lets anything grow than this solution has grown: so much more the error may be."""
    sizes = jax.vmap(lambda state: norm(state, problem.weight))(states)
    size = norm(start, problem.weight)
    size = jnp.where(size > 0, size, sizes[jnp.argmin(jnp.where(times > 0, times, jnp.inf))])
    largest = jnp.maximum(sizes, size)
    excess = jnp.exp(bound * times) * size / jnp.where(largest > 0, largest, 1.0)
    return jnp.maximum(jnp.max(jnp.where(jnp.isfinite(sizes), excess, 0.0)), 1.0)
