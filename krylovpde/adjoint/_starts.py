"""How derivatives move the starts of a solve: fields, in which it is linear, and driven sources, products `f(x) w(t)`.

The change of a product is a sum of two: `(f + df)(w + dw) - f w = df w + f dw`. So a driven source has one companion in
every problem for a tangent.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, PyTree

from ..action import Driven, driven_of, fields_of, profile_of
from ..equation import Pieces
from ..krylov._space import add, norm, scale


class Moving(NamedTuple):
    """The tangents of the starts as JAX hands them over, sorted."""

    fields: Any
    signals: Any


def sort_tangents(state: tuple) -> Moving:
    """Tangents of fields and profiles, and of signals; the edges of panels never move."""
    return Moving(
        [profile_of(part) for part in state], [part.signal.coefficients for part in state if isinstance(part, Driven)]
    )


def changed_starts(state: tuple, direction: tuple) -> tuple:
    """Starts whose solution is the derivative of the solution along a direction."""
    firsts = [_driven_by(part, change) for part, change in zip(state, direction, strict=True)]
    seconds = [
        Driven(part.profile, _with_rate(part.signal, change.signal))
        for part, change in zip(state, direction, strict=True)
        if isinstance(part, Driven)
    ]
    return (*firsts, *seconds)


def paired_starts(state: tuple, direction: tuple) -> tuple:
    """Starts `(s, ds)` of the problem whose solution is `(u, du)`."""
    firsts, seconds = [], []
    for part, change in zip(state, direction, strict=True):
        if not isinstance(part, Driven):
            firsts.append((part, change))
            continue
        firsts.append(Driven((part.profile, change.profile), part.signal))
        # A signal that does not move asks for no recurrence: a start of zero takes none.
        moves = jnp.any(change.signal.coefficients != 0)
        profile = jtu.tree_map(lambda leaf, moves=moves: jnp.where(moves, leaf, jnp.zeros_like(leaf)), part.profile)
        zero = jtu.tree_map(jnp.zeros_like, part.profile)
        seconds.append(Driven((zero, profile), _with_rate(part.signal, change.signal)))
    return (*firsts, *seconds)


def unpaired_starts(state: tuple, pulled: tuple) -> tuple:
    """Cotangents of the starts from those of their pairs."""
    count, result = len(state), []
    companions = iter(pulled[count:])
    for part, cotangent in zip(state, pulled[:count], strict=True):
        if isinstance(part, Driven):
            profile = add(cotangent.profile[0], next(companions).profile[1])
            result.append(Driven(profile, cotangent.signal))
        else:
            result.append(cotangent[0])
    return tuple(result)


def without_fields(state: tuple, keep_profiles: bool) -> tuple:
    """Starts of zero, but (where asked) for the profiles of driven sources."""
    return tuple(
        part if keep_profiles and isinstance(part, Driven) else _driven_by(part, jtu.tree_map(jnp.zeros_like, part))
        for part in state
    )


def magnitude(state: tuple, duration: Array) -> Array:
    """The size of what the starts become in time `duration` (to the power of the order), roughly."""
    parts = [norm(fields_of(state))]
    parts += [_amplitude(part.signal, duration) * norm(part.profile) for part in driven_of(state)]
    return jnp.linalg.norm(jnp.stack(parts))


def magnitude_of_change(state: tuple, direction: tuple, duration: Array) -> Array:
    """The same for a change of the starts."""
    parts = [norm(fields_of(direction))]
    for part, change in zip(driven_of(state), driven_of(direction), strict=True):
        parts.append(_amplitude(part.signal, duration) * norm(change.profile))
        parts.append(_amplitude(change.signal, duration) * norm(part.profile))
    return jnp.linalg.norm(jnp.stack(parts))


def representatives(state: tuple, duration: Array) -> list[PyTree]:
    """Fields that an operator's change would meet: the state itself, and what the sources make of it."""
    return [state[0], *(scale(_amplitude(part.signal, duration), part.profile) for part in driven_of(state))]


def _amplitude(signal: Pieces, duration: Array) -> Array:
    return duration * jnp.max(jnp.abs(signal.coefficients[:, 0]))


def _driven_by(part: PyTree, change: PyTree) -> PyTree:
    return Driven(change.profile, part.signal) if isinstance(part, Driven) else change


def _with_rate(signal: Pieces, change: Pieces) -> Pieces:
    """The change of a signal, on the signal's own panels."""
    return eqx.tree_at(lambda s: s.coefficients, signal, change.coefficients)
