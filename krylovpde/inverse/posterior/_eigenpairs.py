"""The largest eigenpairs of the data's curvature in whitened unknowns, without a matrix."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray

from ...krylov import lanczos
from ...krylov._space import combine
from ..fitting._normal_equations import Linearised, linearise
from ..loss import AbstractLoss
from ._curvature import AbstractCurvature, Diagonal, LowRank, without
from ._whitened import WhitenedModel

# A round of Lanczos takes a few more steps than pairs are wanted: the last ones of a space are not converged.
_SPARE_STEPS = 10
_MOST_ROUNDS = 20
# Eigenvalues below this change no variance by more than it, relative to the prior's.
_NEGLIGIBLE = 1e-10


class Found(NamedTuple):
    """The curvature, the largest eigenvalue that is left out, and the products with `J̃` and with its transpose."""

    curvature: AbstractCurvature
    truncation: float
    products: int


def linearised(loss: AbstractLoss, whitened: WhitenedModel, vector: Float[Array, " n"]) -> Linearised:
    """The loss's residual as a function of the whitened unknowns, and its derivative."""
    return linearise(lambda z: loss.residual(whitened.model(z)), vector)


def all_eigenpairs(loss: AbstractLoss, whitened: WhitenedModel, vector: Float[Array, " n"], num_data: int) -> Found:
    """All of them, from the matrix of `J̃`: for few unknowns or few data.

    By its singular values: products `J̃ᵀ J̃` would cost half of the digits of what the data hardly determine.
    """
    curvature = _by_matrix(loss, whitened, vector, vector.size <= num_data)
    return Found(curvature, 0.0, min(vector.size, num_data))


def leading_eigenpairs(
    loss: AbstractLoss, whitened: WhitenedModel, vector: Float[Array, " n"], rank: int, key: PRNGKeyArray
) -> Found:
    """The `rank` largest, by Lanczos with full reorthogonalisation, restarted.

    Each round works in the complement of what has been found and starts from a random vector together with what is not
    yet converged. The last one finds nothing that is larger: its largest Ritz value says what is left out. One space
    alone would see one vector only of a double eigenvalue, which symmetric arrangements of sensors have.
    """
    dtype = vector.dtype
    tolerance = 1e-9 if jnp.finfo(dtype).bits == 64 else 1e-4
    num_steps = min(vector.size, rank + _SPARE_STEPS)
    values, vectors = np.zeros(rank), jnp.zeros((rank, vector.size), dtype)
    start, left_out, products = jnp.zeros_like(vector), np.inf, 0
    for number in range(_MOST_ROUNDS):
        noise = jax.random.normal(jax.random.fold_in(key, number), vector.shape, dtype)
        ritz = _round(loss, whitened, vector, vectors, start + noise / jnp.linalg.norm(noise), num_steps)
        products += num_steps
        theta, errors = np.asarray(ritz.values, np.float64), np.asarray(ritz.errors, np.float64)
        left_out = float(theta[0])
        if not np.isfinite(left_out):
            message = "laplace_posterior: a product with the derivative of the predictions is not finite at this model."
            raise ValueError(message)
        if left_out <= max(_NEGLIGIBLE, values[-1]):
            break
        converged = (errors <= tolerance * theta) & (theta > _NEGLIGIBLE)
        values, vectors = _merged(values, vectors, theta[converged], ritz.vectors[np.flatnonzero(converged)])
        unfinished = ~converged & (theta > max(_NEGLIGIBLE, values[-1]))
        start = jnp.asarray(unfinished, dtype) @ ritz.vectors
    kept = values > 0
    return Found(LowRank(jnp.asarray(values[kept], dtype), vectors[np.flatnonzero(kept)]), left_out, products)


def diagonal(loss: AbstractLoss, whitened: WhitenedModel, vector: Float[Array, " n"], num_data: int) -> Found:
    """`diag(J̃ᵀ J̃)`, from as many products as there are data or unknowns, whichever are fewer."""
    entries = _squared_columns(loss, whitened, vector, vector.size <= num_data)
    return Found(Diagonal(entries), 0.0, min(vector.size, num_data))


class _Ritz(NamedTuple):
    """Ritz pairs, the largest first, one vector in each row, and the norms of their residuals."""

    values: Float[Array, " m"]
    vectors: Float[Array, "m n"]
    errors: Float[Array, " m"]


@eqx.filter_jit
def _round(
    loss: AbstractLoss,
    whitened: WhitenedModel,
    vector: Float[Array, " n"],
    found: Float[Array, "rank n"],
    start: Float[Array, " n"],
    num_steps: int,
) -> _Ritz:
    linear = linearised(loss, whitened, vector)

    def deflated(x: Array) -> Array:
        return without(found, linear.transposed(linear.forward(without(found, x))))

    structure = jax.ShapeDtypeStruct(vector.shape, vector.dtype)
    operator = lx.FunctionLinearOperator(deflated, structure, lx.positive_semidefinite_tag)
    space = lanczos(operator, without(found, start), num_steps)
    small = jnp.diag(space.diagonal) + jnp.diag(space.offdiagonal, 1) + jnp.diag(space.offdiagonal, -1)
    values, turns = jnp.linalg.eigh(small)
    values, turns = values[::-1], turns[:, ::-1]
    vectors = jax.vmap(lambda turn: combine(space.basis, turn))(turns.T)
    return _Ritz(values, vectors, jnp.linalg.norm(space.residual) * jnp.abs(turns[-1]))


def _merged(values: np.ndarray, vectors: Array, new_values: np.ndarray, new_vectors: Array) -> tuple[np.ndarray, Array]:
    """The largest of both, as many as there were, orthonormal."""
    together = np.concatenate([values, new_values])
    order = np.argsort(-together)[: len(values)]
    return together[order], jnp.concatenate([vectors, new_vectors])[order]


@eqx.filter_jit
def _by_matrix(loss: AbstractLoss, whitened: WhitenedModel, vector: Float[Array, " n"], by_columns: bool) -> LowRank:
    _, singular, rows = jnp.linalg.svd(_matrix(linearised(loss, whitened, vector), vector, by_columns), False)
    return LowRank(singular**2, rows)


@eqx.filter_jit
def _squared_columns(
    loss: AbstractLoss, whitened: WhitenedModel, vector: Float[Array, " n"], by_columns: bool
) -> Float[Array, " n"]:
    return jnp.sum(_matrix(linearised(loss, whitened, vector), vector, by_columns) ** 2, axis=0)


def _matrix(linear: Linearised, vector: Float[Array, " n"], by_columns: bool) -> Float[Array, "data n"]:
    """`J̃`, column by column or row by row."""
    if by_columns:
        return jax.lax.map(lambda e: ravel_pytree(linear.forward(e))[0], jnp.eye(vector.size, dtype=vector.dtype)).T
    flat, unravel = ravel_pytree(linear.residual)
    return jax.lax.map(lambda e: linear.transposed(unravel(e)), jnp.eye(flat.size, dtype=flat.dtype))
