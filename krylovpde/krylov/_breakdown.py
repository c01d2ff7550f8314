"""When a Krylov space ends: the decision that every step shares, relative to a running scale."""

from typing import Protocol, runtime_checkable

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

# A new direction shorter than this many units of rounding, times the longest `A q` so far, is itself rounding. On
# invariant subspaces of up to five well separated eigenvalues (n from 10 to 1e5, both precisions) orthogonalising
# twice left at most 5 units, once 72, the three-term recurrence 16. Small subdiagonals before the end amplify what is
# left; then rounding passes for a direction, which costs a step and harms nothing: its coupling is as small.
BREAKDOWN_UNITS = 100.0


@runtime_checkable
class Progress(Protocol):
    """What the states of all Krylov loops know of their progress."""

    residual_norm: Float[Array, ""]
    scale: Float[Array, ""]
    index: Int[Array, ""]
    dimension: Int[Array, ""]
    done: Bool[Array, ""]


def first_progress(length: Float[Array, ""]) -> dict[str, Array]:
    """The progress of an empty space whose start vector has this length."""
    # There is no scale yet: only a zero vector (or one below the normal numbers) has no direction.
    done = length <= jnp.finfo(length.dtype).tiny
    return {
        "residual_norm": jnp.where(done, jnp.zeros_like(length), length),
        "scale": jnp.zeros_like(length),
        "index": jnp.zeros((), jnp.int32),
        "dimension": jnp.zeros((), jnp.int32),
        "done": done,
    }


def next_progress(state: Progress, residual_norm: Float[Array, ""], image_norm: Float[Array, ""]) -> dict[str, Array]:
    """The progress after a step that applied the operator to a unit vector and left a residual.

    **Arguments:**

    - `state`: before the step.
    - `residual_norm`: length of the part of `A q` that is orthogonal to the basis.
    - `image_norm`: length of `A q`.
    """
    alive = ~state.done
    scale = jnp.where(alive, jnp.maximum(state.scale, image_norm), state.scale)
    threshold = BREAKDOWN_UNITS * jnp.finfo(scale.dtype).eps * scale
    # `<=`, so that A = 0 (threshold 0) breaks down, and a NaN does not: it must travel on to whoever checks the result.
    # An overflow to infinity is no breakdown either.
    broken = alive & (residual_norm <= threshold) & jnp.isfinite(threshold)
    return {
        "residual_norm": jnp.where(
            alive, jnp.where(broken, jnp.zeros_like(residual_norm), residual_norm), state.residual_norm
        ),
        "scale": scale,
        "index": state.index + 1,
        "dimension": state.dimension + alive.astype(state.dimension.dtype),
        "done": state.done | broken,
    }
