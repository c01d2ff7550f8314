"""An inverse by the Neumann series."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._parameter import as_positive
from ..._solution import RESULTS
from ._arguments import check_count
from ._base import AbstractInverse, InverseProduct, Product


class Neumann(AbstractInverse):
    r"""`H⁻¹ g` by the Neumann series: one product for each term after the first.

    $$H^{-1} g \approx \alpha \sum_{j=0}^{k} (I - \alpha H)^j\, g, \qquad 0 < \alpha < 2 / \lambda_{\max}(H) .$$

    These are `k` steps of gradient descent on the quadratic problem, and what differentiating through `k` inner steps
    of descent at the solution would give. Directions of eigenvalue `λ` need about `1 / (αλ)` terms, so it is the
    slowest of the three; a shift of the diagonal it has none. In its favour: an answer for every `H`, and no inner
    products.

    Terms that grow tell that `step_size` is too large, or that `H` has a negative eigenvalue.

    **Arguments:**

    - `steps`: `k`, the number of products.
    - `step_size`: `α`, in the unit of 1/H; a little below `1 / λ_max` is best.

    **Raises:** `ValueError` for `steps` below 1 and a `step_size` that is not positive.

    Source: Lorraine, Vicol, Duvenaud, *Optimizing millions of hyperparameters by implicit differentiation*, AISTATS
    2020.
    """

    steps: int = eqx.field(static=True)
    step_size: Float[Array, ""]

    def __init__(self, steps: int, step_size: float | Float[Array, ""]):
        self.steps = check_count("Neumann: steps", steps)
        self.step_size = as_positive(step_size, "Neumann(step_size)")

    @property
    def shift(self) -> Float[Array, ""]:
        return jnp.zeros_like(self.step_size)

    def solve(self, product: Product, vector: Float[Array, " n"]) -> InverseProduct:
        step_size = self.step_size.astype(vector.dtype)

        def add_term(_, at: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            total, term, _ = at
            following = term - step_size * product(term)
            return total + following, following, term

        total, last, before = jax.lax.fori_loop(0, self.steps, add_term, (vector, vector, vector))
        # For symmetric H the ratio of one term's length to that before never falls: the last one tells of all.
        slack = 1 + jnp.sqrt(jnp.finfo(vector.dtype).eps)
        grows = ~(jnp.linalg.norm(last) <= slack * jnp.linalg.norm(before))
        result = RESULTS.where(grows, RESULTS.series_diverged, RESULTS.successful)
        return InverseProduct(step_size * total, jnp.asarray(self.steps), result)
