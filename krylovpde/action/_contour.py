r"""Functions of a small matrix from its resolvent alone: the inverse Laplace transform on a parabola.

The family `F_l(t, H) e_1` (see `_family`, order 1) has the Laplace transforms $z^{-l} (z - H)^{-1} e_1$, so

$$F_l(t, H) e_1 = \frac{1}{2\pi i} \int e^{zt} z^{-l} (z - H)^{-1} e_1\, dz
    \approx \sum_k \frac{w_k}{t} e^{at} z_k^{-l} (z_k - H)^{-1} e_1, \qquad z_k = a + \zeta_k / t,$$

on the parabola around the spectrum left of `a` for which N nodes leave an error of $2.85^{-N}$ (Weideman, Trefethen
2007). A product of two transforms is the transform of a convolution, which is what pairs a forward with an adjoint
space.

Why not `exp(tH)` by scaling and squaring: the `H = (I - T⁻¹)/γ` of a resolvent's Hessenberg `T` has entries up to the
spectral radius, and at `t‖H‖ = 1e9` squaring loses nine digits of the slow modes. Here `T` is never inverted,
$(z - H)^{-1} = \gamma T ((\gamma z - 1) T + I)^{-1}$, and Ritz values that lie by accident in the right half plane
(they do where a tangent is much larger than its state) stay outside of the parabola instead of exploding.
"""

import functools
import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Complex, Inexact, Real

from ._hessenberg import solve_scaled


class Hessenberg(eqx.Module):
    """A resolvent's Hessenberg matrix `T` (padded with zeros), its `γ`, and what the spectrum of `A` lies left of."""

    matrix: Inexact[Array, "capacity capacity"]
    shift: Real[Array, ""]
    bound: Real[Array, ""]


def contour_family(lowest: int, highest: int, t: Real[Array, ""], small: Hessenberg) -> tuple[Array, Array]:
    """`F_l(t, H) e_1` for `l = lowest … highest >= 0`, and the growth `exp(t bound)`; infinite for `t < 0`."""
    positive = t > 0
    nodes, weights = _on_parabola(jnp.where(positive, t, 1.0), small.bound, small.matrix)
    unit = _unit(small)
    columns = _resolve(small, nodes, jnp.broadcast_to(unit, (nodes.size, unit.size)))
    members = []
    for level in range(lowest, highest + 1):
        sums = _sum_nodes(weights * nodes**-level, columns, small.matrix)
        at_zero = unit.astype(sums.dtype) if level == 0 else jnp.zeros_like(sums)
        members.append(jnp.where(positive, sums, at_zero))
    growth = jnp.where(t < 0, jnp.inf, jnp.exp(jnp.maximum(t, 0.0) * small.bound.astype(t.dtype)))
    return jnp.stack(members), growth


def contour_pairing(
    level_dual: int, level: int, offset: Real[Array, ""], span: Real[Array, ""], dual: Hessenberg, primal: Hessenberg
) -> Inexact[Array, "k m"]:
    """`∫₀ˢ F_i(s - r, G) e_1 (F_l(offset + r, H) e_1)ᵀ dr` for `s = span`: the transform of a product.

    From the offset on, `F_l` is an evolution with the sources `(offset + r)^(l-1)/(l-1)!` along `e_1`, whose transform
    is `Σ_j offset^(l-j)/(l-j)! z^-j`, `j = 1 … l`.
    """
    positive = span > 0
    bound = jnp.maximum(dual.bound, primal.bound)
    nodes, weights = _on_parabola(jnp.where(positive, span, 1.0), bound, primal.matrix)
    start = contour_family(level, level, offset, primal)[0][0].astype(nodes.dtype)
    unit = _unit(primal).astype(nodes.dtype)
    right = jnp.broadcast_to(start, (nodes.size, start.size))
    for j in range(1, level + 1):
        share = offset ** (level - j) / math.factorial(level - j)
        right = right + (share.astype(nodes.dtype) * nodes**-j)[:, None] * unit
    columns = _resolve(primal, nodes, right)
    rows = _resolve(dual, nodes, jnp.broadcast_to(_unit(dual), (nodes.size, dual.matrix.shape[0])))
    terms = (weights * nodes**-level_dual)[:, None] * rows
    kernel = jnp.matmul(terms.T, columns, precision=lax.Precision.HIGHEST)
    kernel = kernel if jnp.iscomplexobj(primal.matrix) else 2.0 * jnp.real(kernel)
    return jnp.where(positive, kernel, jnp.zeros_like(kernel))


def _resolve(
    small: Hessenberg, nodes: Complex[Array, " nodes"], right: Inexact[Array, "nodes m"]
) -> Complex[Array, "nodes m"]:
    """`(z - H)⁻¹ right = γ T ((γz - 1) T + I)⁻¹ right` for each node."""
    shift = small.shift.astype(nodes.dtype)
    solved = solve_scaled(small.matrix, shift * nodes - 1.0, right.astype(nodes.dtype))
    return shift * jnp.matmul(solved, small.matrix.astype(nodes.dtype).T, precision=lax.Precision.HIGHEST)


def _sum_nodes(weights: Array, columns: Array, like: Array) -> Array:
    total = jnp.matmul(weights, columns, precision=lax.Precision.HIGHEST)
    return total if jnp.iscomplexobj(like) else 2.0 * jnp.real(total)


def _on_parabola(t: Array, bound: Array, like: Array) -> tuple[Array, Array]:
    """Nodes and weights, `exp` included, for the time t; half of them where real numbers make pairs."""
    dtype = np.result_type(like.dtype, np.complex64)
    nodes, weights = _parabola(32 if dtype == np.complex128 else 16, not jnp.iscomplexobj(like))
    t, bound = t.astype(dtype), bound.astype(dtype)
    return jnp.asarray(nodes, dtype) / t + bound, jnp.asarray(weights, dtype) * jnp.exp(bound * t) / t


@functools.cache
def _parabola(count: int, half: bool) -> tuple[np.ndarray, np.ndarray]:
    """`ζ(θ) = N (0.1309 - 0.1194 θ² + 0.25 iθ)` at the midpoints of N panels of [-π, π], and `e^ζ ζ' / (iN)`."""
    angles = np.pi * (2 * np.arange(count) + 1 - count) / count
    nodes = count * (0.1309 - 0.1194 * angles**2 + 0.25j * angles)
    weights = np.exp(nodes) * (-0.2388 * angles + 0.25j) / 1j
    upper = angles > 0
    return (nodes[upper], weights[upper]) if half else (nodes, weights)


def _unit(small: Hessenberg) -> Array:
    return jnp.zeros_like(small.matrix[0]).at[0].set(1.0)
