"""Operators with an ellipse that was told, and exact solutions with forces that are straight lines between edges."""

import itertools
from typing import Any

import jax
import jax.flatten_util as jfu
import jax.numpy as jnp
import lineax as lx
import numpy as np

from krylovpde.operator import AbstractOperator, Ellipse, numerical_range


class Told(AbstractOperator):
    """An operator that answers `numerical_range`."""

    operator: lx.AbstractLinearOperator
    ellipse: Ellipse
    weight: Any = None

    def mv(self, vector):
        return self.operator.mv(vector)

    def in_structure(self):
        return self.operator.in_structure()

    def out_structure(self):
        return self.operator.out_structure()

    @property
    def spectral_bound(self):
        return None

    @property
    def tags(self):
        return frozenset()


@numerical_range.register(Told)
def _(operator):
    return operator.ellipse


def ellipse(centre, real, imaginary) -> Ellipse:
    return Ellipse(*(jnp.asarray(float(number)) for number in (centre, real, imaginary)))


def damped_wave(speed, damping, cells=9, dtype=jnp.float64) -> Told:
    """`p_t = -speed² v_x - damping p`, `v_t = -p_x` on staggered cells of width one, between walls: tall and thin."""
    like = {"p": jax.ShapeDtypeStruct((cells,), dtype), "v": jax.ShapeDtypeStruct((cells - 1,), dtype)}

    def apply(state):
        p, v = state["p"], state["v"]
        square, rate = (speed**2).astype(p.dtype), damping.astype(p.dtype)
        return {"p": -square * jnp.diff(jnp.pad(v, 1)) - rate * p, "v": -jnp.diff(p)}

    # Around the rectangle of height 2 max(speed) and half-width σ/2 with σ the largest damping.
    sigma, height = 0.8, 2.0 * 1.6
    told = ellipse(-sigma / 2, sigma, height / np.sqrt(0.75))
    weight = {"p": jax.lax.stop_gradient(1.0 / speed**2), "v": jnp.ones(cells - 1)}
    return Told(lx.FunctionLinearOperator(apply, like), told, weight)


def driven_states(operator, start, terms, edges, times):
    """The states at `times` (stacked, raveled) of `u' = A u + Σ f w(t)`; each `w` a straight line between `edges`."""
    matrix, (state, _) = operator.as_matrix(), jfu.ravel_pytree(start)
    fields = [(jfu.ravel_pytree(field)[0], signal) for field, signal in terms]
    size, states = len(matrix), []
    for low, high in itertools.pairwise(np.unique(np.concatenate([[0.0], edges, times]))):
        places = jnp.asarray(low + 0.25 * (high - low)), jnp.asarray(low + 0.75 * (high - low))
        first, second = (sum(f * w(place) for f, w in fields) for place in places)
        slope = 2.0 * (second - first) / (high - low)
        generator = jnp.zeros((size + 2, size + 2)).at[:size, :size].set(matrix).at[size, size + 1].set(1.0)
        generator = generator.at[:size, size].set(slope).at[:size, size + 1].set(first - 0.25 * (high - low) * slope)
        whole = jnp.concatenate([state, jnp.asarray([0.0, 1.0])])
        state = (jax.scipy.linalg.expm(generator * (high - low)) @ whole)[:size]
        if np.any(np.isclose(high, times)):
            states.append(state)
    return jnp.stack(states)
