"""One step of an exponential method on Diffrax's terms."""

from typing import Any

import diffrax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, PyTree

from .._solution import RESULTS
from ..action import AbstractMethod
from ..integrate import LinearFlow, Linearised, Tableau, choose, exponential_step, inside, linearise
from ..krylov._space import add, scale
from ._term import unwrapped


class Split:
    """The two parts of a `MultiTerm` as functions of time and state, in the direction in which time runs."""

    def __init__(self, terms: Any, t0: Any, t1: Any, args: Any):
        self.terms, self.args, self.ends = terms, args, (jnp.asarray(t0), jnp.asarray(t1))
        # Diffrax steps forwards in a time of its own, and says by the control in which direction that is.
        linear, rest = terms.contr(t0, t1)
        length = jnp.where(t1 == t0, 1.0, t1 - t0)
        self.signs = (jnp.sign(linear / length), jnp.sign(rest / length))
        self.operator = unwrapped(terms.terms[0]).operator * self.signs[0]

    def linear(self, t: Any, y: PyTree[Array]) -> PyTree[Array]:
        return scale(self.signs[0], self.terms.terms[0].vf(t, y, self.args))

    def rest(self, t: Any, y: PyTree[Array]) -> PyTree[Array]:
        # Seen from within the step: rounding must not lead across a jump that ends it.
        return scale(self.signs[1], self.terms.terms[1].vf(inside(jnp.asarray(t), *self.ends), y, self.args))

    def rate(self, t: Any, y: PyTree[Array]) -> PyTree[Array]:
        return add(self.linear(t, y), self.rest(t, y))


def exponential_diffrax_step(
    tableau: Tableau, rosenbrock: bool, action: AbstractMethod | None, rtol: float | None, split: Split, t0, t1, y0
) -> tuple[PyTree[Array], PyTree[Array], dict[str, PyTree[Array]], Any]:
    """State, error estimate, what dense output needs, result."""
    t0, h = jnp.asarray(t0), jnp.asarray(t1 - t0)
    if rosenbrock:
        around = linearise(split.operator, split.rest, t0, y0)
    else:
        around = Linearised(split.operator, split.rest, split.rest(t0, y0), None)
    method, adjoint = choose(around.operator, 1, action, None, onwards=True)
    linear = LinearFlow(method, adjoint, _tolerance(rtol, y0), throw=False)
    step = exponential_step(tableau, linear, around, t0, y0, h)
    good = step.result == RESULTS.successful
    # An infinite error is a rejected step: the next one is shorter.
    error = jtu.tree_map(lambda leaf: jnp.where(good, leaf, jnp.inf), step.error)
    dense = {"y0": y0, "y1": step.state, "k0": scale(h, split.rate(t0, y0)), "k1": scale(h, split.rate(t1, step.state))}
    return step.state, error, dense, diffrax.RESULTS.successful


def _tolerance(rtol: float | None, y: PyTree[Array]) -> float:
    """Of the linear flows: far below what a step control asks for, as a rule."""
    if rtol is not None:
        return rtol
    return 1e-10 if np.finfo(jtu.tree_leaves(y)[0].dtype).eps < 1e-10 else 1e-5
