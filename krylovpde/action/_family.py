"""The functions that solve `dᵠu/dtᵠ = A u + sources`, for q = 1 and 2, of numbers and of small matrices.

    F_l(t, z) = Σ_j t^(l+qj) zʲ / (l+qj)!        F_l = t^l/l! + z F_(l+q)        dF_(l+1)/dt = F_l

For order q = 1 these are `t^l φ_l(tz)`: `exp(tz)`, `t φ_1(tz)`, ... For q = 2 and z = -ω² they are `cos(ωt)`,
`t sinc(ωt)`, `(1 - cos ωt)/ω²`, ... (`sinc x = sin x / x`). A state has the components
`(u, u', …, u^(q-1), b_q, b_(q+1), …)` where `b_(l+1) = b_l'` are the sources, so a polynomial source is a chain of
them. Started from component `l` alone, component `j < q` of the solution at time t is `F_(l-j)(t, A)`, where
`F_(-r) = A F_(q-r)`. One idea thus holds `exp`, the φ-functions, `cos`, `sinc` and constant or polynomial sources, and
the transposed problem is the same family with its components in reverse order.
"""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ._expm import expm

# Terms of the series at |x| = 2 until they are below rounding, for q = 1 and 2.
_NUM_TERMS = {1: 20, 2: 11}


def scalar_family(order: int, lowest: int, highest: int, t: Array, z: Array, known: list[Array] | None = None) -> Array:
    """`F_l(t, z)` for `l = lowest … highest` on a new leading axis; `t` (real) and `z` broadcast.

    `known`: the first q members `t^-l F_l`, from whoever knows better than to take them from `t^q z`.
    """
    x = z * (t**order).astype(z.dtype)
    normalised = closed_forms(order, x) if known is None else list(known)
    # The recurrence cancels for small |x|, the Taylor series does not converge fast for large |x|; at |x| = 2 the
    # recurrence loses one digit at most and a dozen or two of terms are exact.
    small = jnp.abs(x) < 2.0
    divisor = jnp.where(small, jnp.ones_like(x), x)
    series = _taylor_series(order, highest, x)
    for level in range(highest - order + 1):
        upwards = (normalised[level] - 1.0 / math.factorial(level)) / divisor
        normalised.append(jnp.where(small, series[level], upwards))
    values = [(t**level).astype(z.dtype) * value for level, value in enumerate(normalised)]
    below = [z * values[order + level] for level in range(lowest, 0)]
    return jnp.stack(below + values[max(lowest, 0) : highest + 1])


def closed_forms(order: int, x: Array) -> list[Array]:
    """The first q members at `t = 1`: `exp(x)`, or `cos √-x` and `sinc √-x`."""
    if order == 1:
        return [jnp.exp(x)]
    if jnp.iscomplexobj(x):
        root = jnp.sqrt(-x)
        safe = jnp.where(jnp.abs(root) < 1e-3, 1.0, root)
        return [jnp.cos(root), jnp.where(jnp.abs(root) < 1e-3, 1.0 + x / 6.0, jnp.sin(safe) / safe)]
    root = jnp.sqrt(jnp.abs(x))
    tiny = root < 1e-3
    safe = jnp.where(tiny, 1.0, root)
    grows = x > 0
    bounded = jnp.where(grows, root, 0.0)  # keeps the branch that is not taken from overflowing
    level_zero = jnp.where(grows, jnp.cosh(bounded), jnp.cos(root))
    level_one = jnp.where(grows, jnp.sinh(jnp.where(grows, safe, 0.0)) / safe, jnp.sin(safe) / safe)
    return [level_zero, jnp.where(tiny, 1.0 + x / 6.0, level_one)]


def _taylor_series(order: int, highest: int, x: Array) -> list[Array]:
    """The members `order … highest` for `|x| < 2`: the last q by Horner's rule, others by `φ_l = 1/l! + x φ_(l+q)`.

    Downwards nothing cancels, and a walk through the panels of a signal asks for eight members at thousands of points.
    """
    inside = jnp.where(jnp.abs(x) < 2.0, x, jnp.zeros_like(x))
    levels = np.arange(max(order, highest - order + 1), highest + 1)
    count = _NUM_TERMS[order] + 1
    terms = np.array([[1.0 / math.factorial(level + order * j) for j in range(count)] for level in levels])
    terms = terms.reshape((len(levels), count) + (1,) * x.ndim)
    top = jnp.zeros((len(levels), *x.shape), x.dtype)
    for j in reversed(range(count)):
        top = top * inside + jnp.asarray(terms[:, j], x.real.dtype).astype(x.dtype)
    members = list(top)
    for level in range(highest - order, order - 1, -1):
        members.insert(0, 1.0 / math.factorial(level) + inside * members[order - 1])
    return members


def matrix_family(order: int, lowest: int, highest: int, t: Array, matrix: Array) -> tuple[Array, Array]:
    """`F_l(t, H) e_1` for `l = lowest … highest` on the leading axis, and the growth of `F_0`.

    One exponential of a matrix of size `q m + (highest - q + 1)`: the components of the state, each in the coordinates
    of the small matrix `H`, and the chain of sources.
    """
    size = matrix.shape[0]
    rate = natural_rate(order, t, matrix)
    top = max(highest, order - 1)  # levels below 0 need all of the first q
    generator = chain_generator(order, top, rate, matrix)
    exponential, growth = expm(generator * (rate * t).astype(matrix.dtype), block=size)
    columns = [
        exponential[:size, start_index(order, level, size)] * (rate**-level).astype(matrix.dtype)
        for level in range(top + 1)
    ]
    below = [matrix @ columns[order + level] for level in range(lowest, 0)]
    return jnp.stack(below + columns[max(lowest, 0) : highest + 1]), growth


def natural_rate(order: int, t: Array, *matrices: Array) -> Array:
    """A rate in whose units the first-order form is balanced: `‖H‖^(1/q)`, at least `1/|t|`."""
    rate = jnp.where(t == 0, 1.0, 1.0 / jnp.where(t == 0, 1.0, jnp.abs(t)))
    for matrix in matrices:
        size = jnp.max(jnp.sum(jnp.abs(matrix), axis=0)).astype(t.dtype)
        rate = jnp.maximum(rate, size ** (1.0 / order))
    return rate


def chain_generator(order: int, highest: int, rate: Array, matrix: Array) -> Array:
    """The first-order form of the family up to level `highest`, in time units of `1/rate`.

    Component l is carried in units of `rateˡ`, which makes the form `[[0, 1], [H/rate², 0]]` for q = 2, of norm 1 where
    the plain one has norm `‖H‖`. A source enters the highest derivative along `e_1`; each next one is the derivative
    of its forerunner.
    """
    size, num_sources = matrix.shape[0], max(highest - order + 1, 0)
    total = order * size + num_sources
    last = (order - 1) * size
    generator = jnp.zeros((total, total), matrix.dtype)
    if order == 2:
        generator = generator.at[:size, size : 2 * size].set(jnp.eye(size, dtype=matrix.dtype))
    generator = generator.at[last : last + size, :size].set(matrix / (rate**order).astype(matrix.dtype))
    for source in range(num_sources):
        row = last if source == 0 else order * size + source - 1
        generator = generator.at[row, order * size + source].set(1.0)
    return generator


def start_index(order: int, level: int, size: int) -> int:
    """Where a unit of component `level` along `e_1` stands in the first-order form."""
    return level * size if level < order else order * size + level - order
