"""Which columns of a matrix, or mixtures of them, stand for the whole."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from ._arguments import check_count
from ._base import Product


class AbstractColumns(eqx.Module):
    """Test vectors `Ω` of a Nyström approximation, each known by a seed, so that none has to be kept.

    A seed is an index where the vectors are unit vectors, a key where they are random.
    """

    @property
    @abc.abstractmethod
    def products(self) -> int:
        """How many products the choice costs."""

    @abc.abstractmethod
    def seeds(self, product: Product, like: Float[Array, " n"], rank: int, key: PRNGKeyArray) -> Array:
        """Seeds of `rank` vectors like `like`."""

    @abc.abstractmethod
    def vector(self, seed: Array, like: Float[Array, " n"]) -> Float[Array, " n"]:
        """The vector of a seed, a column of `Ω`."""

    @abc.abstractmethod
    def against(self, seeds: Array, x: Float[Array, " n"]) -> Float[Array, " rank"]:
        """`Ωᵀ x`."""

    @abc.abstractmethod
    def mixture(self, seeds: Array, weights: Float[Array, " rank"], like: Float[Array, " n"]) -> Float[Array, " n"]:
        """`Ω weights`."""


class _AbstractUnitVectors(AbstractColumns):
    """Single columns of the matrix; seeds are their indices."""

    def vector(self, seed: Array, like: Float[Array, " n"]) -> Float[Array, " n"]:
        return (jnp.arange(like.size, dtype=seed.dtype) == seed).astype(like.dtype)

    def against(self, seeds: Array, x: Float[Array, " n"]) -> Float[Array, " rank"]:
        return x[seeds]

    def mixture(self, seeds: Array, weights: Float[Array, " rank"], like: Float[Array, " n"]) -> Float[Array, " n"]:
        return jnp.zeros_like(like).at[seeds].add(weights)


class UniformColumns(_AbstractUnitVectors):
    """Columns of `H` at random, each as likely as any other: the choice of the paper, and free.

    Good where no unknown matters much more than the others. Where few do, their columns are easily missed.

    Source: Hataya, Yamada, *Nyström method for accurate and scalable implicit differentiation*, AISTATS 2023.
    """

    @property
    def products(self) -> int:
        return 0

    def seeds(self, product: Product, like: Float[Array, " n"], rank: int, key: PRNGKeyArray) -> Array:
        return jr.permutation(key, like.size)[:rank]


class NormColumns(_AbstractUnitVectors):
    """Columns of `H` at random, likely as the squares of their lengths, which a few products estimate.

    `E[(H z)ᵢ²] = |Hᵢ|²` for random signs `z`. It finds the unknowns that matter where few do; these may all say the
    same, which `LeverageColumns` knows.

    **Arguments:**

    - `probes`: how many products the estimate takes.

    **Raises:** `ValueError` for `probes` below 1.

    Source: lengths as probabilities: Drineas, Kannan, Mahoney, *Fast Monte Carlo algorithms for matrices I*, SIAM J.
    Comput. 36 (2006); without replacement by Gumbel noise: Efraimidis, Spirakis, *Inf. Process. Lett.* 97 (2006).
    """

    probes: int = eqx.field(static=True)

    def __init__(self, probes: int = 2):
        self.probes = check_count("NormColumns: probes", probes)

    @property
    def products(self) -> int:
        return self.probes

    def seeds(self, product: Product, like: Float[Array, " n"], rank: int, key: PRNGKeyArray) -> Array:
        probe_key, draw_key = jr.split(key)
        images = jax.vmap(product)(jr.rademacher(probe_key, (self.probes, like.size), like.dtype))
        return _weighted_draw(draw_key, jnp.sum(images**2, axis=0), rank)


class LeverageColumns(_AbstractUnitVectors):
    """Columns of `H` at random, likely as their leverage scores in the span of a few products `H z`.

    The score of an unknown is the squared length of its row of an orthonormal basis of that span: how much of the
    dominant directions is to be seen from this unknown alone.

    **Arguments:**

    - `probes`: how many products the estimate takes: about as many as there are large eigenvalues.

    **Raises:** `ValueError` for `probes` below 1.

    Source: Gittens, Mahoney, *Revisiting the Nyström method for improved large-scale machine learning*, JMLR 17 (2016).
    """

    probes: int = eqx.field(static=True)

    def __init__(self, probes: int = 5):
        self.probes = check_count("LeverageColumns: probes", probes)

    @property
    def products(self) -> int:
        return self.probes

    def seeds(self, product: Product, like: Float[Array, " n"], rank: int, key: PRNGKeyArray) -> Array:
        probe_key, draw_key = jr.split(key)
        images = jax.vmap(product)(jr.normal(probe_key, (min(self.probes, like.size), like.size), like.dtype))
        basis, lengths, _ = jnp.linalg.svd(images.T, full_matrices=False)
        # What a matrix of lower rank leaves for the last vectors is rounding, and points anywhere.
        counts = lengths > like.size * jnp.finfo(like.dtype).eps * lengths[0]
        return _weighted_draw(draw_key, jnp.sum(jnp.where(counts, basis, 0) ** 2, axis=1), rank)


class GaussianSketch(AbstractColumns):
    """Mixtures of all columns of `H` with normal weights instead of single ones.

    No unknown is missed: the expected error of the approximation is a small factor above that of the best one of a
    slightly lower rank, whatever `H` is. Costs no more products than columns, so it is the better choice where a
    product costs the same for any vector.

    Source: Frangella, Tropp, Udell, *Randomized Nyström preconditioning*, SIAM J. Matrix Anal. Appl. 44 (2023).
    """

    @property
    def products(self) -> int:
        return 0

    def seeds(self, product: Product, like: Float[Array, " n"], rank: int, key: PRNGKeyArray) -> Array:
        return jr.split(key, rank)

    def vector(self, seed: Array, like: Float[Array, " n"]) -> Float[Array, " n"]:
        # Of length about 1, as a unit vector: what is called small is so in the same measure.
        return jr.normal(seed, like.shape, like.dtype) / like.size**0.5

    def against(self, seeds: Array, x: Float[Array, " n"]) -> Float[Array, " rank"]:
        return jax.lax.map(lambda seed: jnp.vdot(self.vector(seed, x), x), seeds)

    def mixture(self, seeds: Array, weights: Float[Array, " rank"], like: Float[Array, " n"]) -> Float[Array, " n"]:
        def add(total: Array, term: tuple[Any, Array]) -> tuple[Array, None]:
            seed, weight = term
            return total + weight * self.vector(seed, like), None

        return jax.lax.scan(add, jnp.zeros_like(like), (seeds, weights))[0]


def _weighted_draw(key: PRNGKeyArray, weights: Float[Array, " n"], count: int) -> Array:
    """Indices without replacement, likely as their weights: the largest of `log weight + Gumbel noise`."""
    # One that weighs nothing is drawn after all others.
    logarithms = jnp.where(weights > 0, jnp.log(jnp.where(weights > 0, weights, 1)), -jnp.finfo(weights.dtype).max)
    return jax.lax.top_k(logarithms + jr.gumbel(key, weights.shape, weights.dtype), count)[1]
