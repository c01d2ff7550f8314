"""An inverse from a few columns."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..._parameter import as_positive
from ..._solution import RESULTS
from ._arguments import check_count
from ._base import AbstractInverse, InverseProduct, Product
from ._columns import AbstractColumns, UniformColumns
from ._low_rank import LowRankInverse


class Nystrom(AbstractInverse):
    r"""`(H + ρ I)⁻¹ g` from `rank` columns of `H`, made in one batch, and Woodbury's identity.

    $$H \approx \hat H = C M^+ C^\top, \qquad C = H\Omega, \quad M = \Omega^\top H \Omega, \qquad
      (\hat H + \rho I)^{-1} = U (D + \rho I)^{-1} U^\top + \tfrac1\rho (I - U U^\top)$$

    with unit vectors in `Ω`, or random ones (`GaussianSketch`), and the eigenpairs `U`, `D` of `Ĥ`. No product waits
    for another one: `rank` products are one batch, which processors with many threads like. Good where the eigenvalues
    of `H` that are larger than `ρ` are fewer than `rank`. What is missed counts as zero, so a direction that is missed
    comes out too *long*, by up to `λ / ρ`: a small `ρ` makes a low rank wrong, and a large one is safe and dull. (With
    conjugate gradients it is the other way round.)

    `H` should be positive semidefinite: there the approximation never gets worse with `rank`. Eigenvalues of `M` below
    rounding are left out.

    **Arguments:**

    - `rank`: how many columns, at most as many as unknowns.
    - `rho`: `ρ`, positive, in the unit of `H`. With a prior as inner product and the Hessian of the data alone, 1 is
        the regularised Hessian itself.
    - `key`: for the choice of columns; always the same one if left out. A new one for each outer step averages the
        choice out: `eqx.tree_at`, or a new object.
    - `columns`: `UniformColumns()`, `NormColumns()`, `LeverageColumns()`, `GaussianSketch()`.
    - `block_size`: how many columns are in memory at a time; all of them if `None`. In blocks, `C` is never held: its
        inner products come from products with products, and what is left over from one more, `2 rank + 1` in place of
        `rank`. It squares the condition, so what is below the root of rounding relative to `H` is lost.

    **Raises:** `ValueError` for a `rank` or `block_size` below 1, a `rank` above the number of unknowns (when used),
    and a `rho` that is not positive.

    !!! cite "Sources"

        Hataya, Yamada, *Nyström method for accurate and scalable implicit differentiation*, AISTATS 2023, whose
        parameter κ trades memory for products, too; the stable form: Frangella, Tropp, Udell, *Randomized Nyström
        preconditioning*, SIAM J. Matrix Anal. Appl. 44 (2023).
    """

    rank: int = eqx.field(static=True)
    rho: Float[Array, ""]
    key: PRNGKeyArray
    columns: AbstractColumns
    block_size: int | None = eqx.field(static=True)

    def __init__(
        self,
        rank: int,
        rho: float | Float[Array, ""],
        *,
        key: PRNGKeyArray | None = None,
        columns: AbstractColumns | None = None,
        block_size: int | None = None,
    ):
        self.rank = check_count("Nystrom: rank", rank)
        self.rho = as_positive(rho, "Nystrom(rho)")
        self.key = jax.random.key(0) if key is None else key
        self.columns = UniformColumns() if columns is None else columns
        self.block_size = None if block_size is None else check_count("Nystrom: block_size", block_size)

    @property
    def shift(self) -> Float[Array, ""]:
        return self.rho

    def solve(self, product: Product, vector: Float[Array, " n"]) -> InverseProduct:
        if self.block_size is not None:
            return self._solve_in_blocks(product, vector, self.block_size)
        found = self.factor(product, vector).solve(product, vector)
        return InverseProduct(found.value, jnp.asarray(self.columns.products + self.rank), found.result)

    def factor(self, product: Product, like: Float[Array, " n"]) -> LowRankInverse:
        """The approximation itself, which serves any number of vectors without a further product.

        **Arguments:**

        - `product`: `x -> H x`.
        - `like`: a vector of the unknowns' size and precision.
        """
        seeds = self._seeds(product, like)
        images = jax.vmap(lambda seed: product(self.columns.vector(seed, like)))(seeds)
        inner = jax.vmap(lambda image: self.columns.against(seeds, image))(images)
        # M's eigenvalues are known to rounding of the columns; dividing by less would make columns of noise.
        cutoff = jnp.finfo(like.dtype).eps * jnp.linalg.norm(images)
        root, sign = _inverse_root(inner, cutoff)
        basis, triangle = jnp.linalg.qr(images.T @ root)
        values, rotation = jnp.linalg.eigh(_symmetric((triangle * sign) @ triangle.T))
        return LowRankInverse(basis @ rotation, values, self.rho.astype(like.dtype))

    def _solve_in_blocks(self, product: Product, vector: Float[Array, " n"], block_size: int) -> InverseProduct:
        """`(g - C T z) / ρ` with `(ρ S + Tᵀ CᵀC T) z = Tᵀ Cᵀ g`, where `M⁺ = T S Tᵀ` and `S` holds signs.

        `CᵀC = Ωᵀ H C`, column by column, and `C (T z) = H (Ω T z)`.
        """
        seeds, rho = self._seeds(product, vector), self.rho.astype(vector.dtype)

        def visit(seed: Array) -> tuple[Array, Array, Array]:
            image = product(self.columns.vector(seed, vector))
            squares = self.columns.against(seeds, product(image))
            return self.columns.against(seeds, image), squares, jnp.vdot(image, vector)

        inner, squares, seen = jax.lax.map(visit, seeds, batch_size=min(block_size, self.rank))
        squares = _symmetric(squares)
        cutoff = jnp.finfo(vector.dtype).eps ** 0.5 * jnp.sqrt(jnp.maximum(jnp.trace(squares), 0))
        root, sign = _inverse_root(inner, cutoff)
        values, rotation = jnp.linalg.eigh(_symmetric(rho * jnp.diag(sign) + root.T @ squares @ root))
        # Haynsworth: ρ + Ĥ has as many negative eigenvalues as this matrix has positive ones too many.
        is_positive = jnp.sum(values > 0) == jnp.sum(sign > 0)
        mixed = root @ (rotation @ ((rotation.T @ (root.T @ seen)) / values))
        value = (vector - product(self.columns.mixture(seeds, mixed, vector))) / rho
        result = RESULTS.where(is_positive, RESULTS.successful, RESULTS.not_positive_definite)
        return InverseProduct(value, jnp.asarray(self.columns.products + 2 * self.rank + 1), result)

    def _seeds(self, product: Product, like: Float[Array, " n"]) -> Array:
        if self.rank > like.size:
            message = f"Nystrom: rank is {self.rank}, but there are {like.size} unknowns. At most as many will do."
            raise ValueError(message)
        return self.columns.seeds(product, like, self.rank, self.key)


def _inverse_root(matrix: Float[Array, "k k"], cutoff: Float[Array, ""]) -> tuple[Array, Array]:
    """`T` and signs `S` with `T S Tᵀ` the pseudo-inverse of a symmetric matrix; `T` is zero where that is."""
    values, vectors = jnp.linalg.eigh(_symmetric(matrix))
    counts = jnp.abs(values) > cutoff
    return vectors * jnp.where(counts, jnp.where(counts, jnp.abs(values), 1) ** -0.5, 0), jnp.where(
        counts & (values < 0), -1, 1
    ).astype(values.dtype)


def _symmetric(matrix: Float[Array, "k k"]) -> Float[Array, "k k"]:
    return (matrix + matrix.T) / 2
