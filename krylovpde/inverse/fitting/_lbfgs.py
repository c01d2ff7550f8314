"""L-BFGS within bounds."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Bool, Int, PyTree, Scalar

from ._driver import AbstractDriver, Objective, Point, check_real
from ._line_search import Found, search
from ._tree import dot, euclidean_norm, only, scale, select, subtract
from ._two_loop import newton_like


class LBFGSState(eqx.Module):
    """Where an iteration stands: plain arrays, so that it can be saved.

    `steps` and `changes` are like the parameters with a leading axis of the memory's length, the newest pair last, of
    which `kept` are filled.
    """

    parameters: PyTree
    value: Scalar
    gradient: PyTree
    first_value: Scalar
    steps: PyTree
    changes: PyTree
    kept: Int[Array, ""]
    evaluations: Int[Array, ""]
    accepted: Bool[Array, ""]
    stuck: Bool[Array, ""]
    converged: Bool[Array, ""]


class LBFGS(AbstractDriver[LBFGSState]):
    """Limited-memory BFGS for any smooth loss, with `lower <= x <= upper` for the numbers in a `Box`.

    Unknowns that sit on a limit against which the gradient pushes them are held; the others move along `-H gradient`,
    where `H` is the inverse Hessian from the last `memory` changes of *their* gradient, on a path that bends where it
    meets a limit (two-metric projection). The step satisfies the weak Wolfe conditions along that path. A trial at
    which loss or gradient is not finite shortens the search; nothing not finite is ever accepted. Where a search finds
    no lower loss, the memory is emptied and steepest descent has one try before the fit ends.

    The one to begin with for a field from many data where products with a Jacobian are dear, and for losses that are no
    sum of squares. A loss whose gradient is inexact (a loose tolerance of the solver) stops it early.

    **Arguments:**

    - `memory`: how many pairs are kept; 5 to 20. Each costs two copies of the unknowns.
    - `first_step`: the length of the first trial step (Euclidean, over all unknowns together), since a gradient alone
        has no scale: the size of the change that would surprise nobody. Later ones are about 1 times `-H gradient`.
    - `max_evaluations`: the most evaluations of one line search.
    - `rtol`: converged where an iteration lowers the loss by less than `rtol` of itself; 0 never.

    **Raises** (in `fit`): `TypeError` for complex unknowns (hold real and imaginary part as two leaves).

    Sources: Nocedal, Wright, *Numerical Optimization* (2006), §7.2; Bertsekas, SIAM J. Control Optim. 20 (1982); Kim,
    Sra, Dhillon, "Tackling box-constrained optimization via a new projected quasi-Newton approach", SIAM J. Sci.
    Comput. 32 (2010).
    """

    memory: int = eqx.field(static=True, default=10)
    first_step: float = eqx.field(static=True, default=1.0)
    max_evaluations: int = eqx.field(static=True, default=20)
    rtol: float = eqx.field(static=True, default=1e-9)
    stuck_reason: ClassVar[str] = "the line search finds no lower loss along the gradient; the gradient may be inexact"

    def __check_init__(self):
        if not (self.memory >= 1 and self.max_evaluations >= 1 and self.first_step > 0):
            message = (
                "LBFGS: memory and max_evaluations must be at least 1 and first_step positive; got "
                f"{self.memory}, {self.max_evaluations}, {self.first_step}."
            )
            raise ValueError(message)

    @property
    def name(self) -> str:
        return "LBFGS"

    def check(self, objective: Objective, parameters: PyTree):
        check_real(parameters, self.name)

    def init(self, objective: Objective, parameters: PyTree) -> LBFGSState:
        value, gradient = jax.value_and_grad(objective)(parameters)
        empty = jtu.tree_map(lambda leaf: jnp.zeros((self.memory, *leaf.shape), leaf.dtype), parameters)
        yes, no = jnp.asarray(True), jnp.asarray(False)
        return LBFGSState(
            parameters,
            value,
            gradient,
            value,
            empty,
            empty,
            kept=jnp.asarray(0),
            evaluations=jnp.asarray(1),
            accepted=yes,
            stuck=no,
            converged=no,
        )

    def step(self, objective: Objective, state: LBFGSState) -> LBFGSState:
        free = objective.bounds.free(state.parameters, state.gradient)
        gradient = only(free, state.gradient)
        product, informed = newton_like(gradient, state.steps, state.changes, state.kept, free)
        # By rounding alone H may have lost its definiteness.
        informed = informed & (dot(product, gradient) > 0)
        norm = euclidean_norm(gradient)
        at_optimum = norm == 0
        one = jnp.ones_like(norm)
        first = jnp.where(informed, one, self.first_step / jnp.where(at_optimum, one, norm))
        direction = scale(select(informed, product, gradient), -one)
        start = Found(state.parameters, state.value, state.gradient, jnp.zeros_like(norm), state.evaluations)
        found = search(objective, objective.bounds, start, direction, first, self.max_evaluations)
        accepted = found.length > 0
        steps, changes, kept = self._remember(state, found, accepted)
        # Where the search fails, its first trial tells what there was to gain.
        fell = jnp.where(accepted, state.value - found.value, -0.5 * first * dot(gradient, direction))
        # Beyond eps^1.5 of its first value, a loss that goes to zero is made of rounding.
        eps = jnp.finfo(found.value.dtype).eps
        little = jnp.maximum(self.rtol * jnp.abs(state.value), eps**1.5 * jnp.abs(state.first_value))
        converged = at_optimum | ((accepted | informed) & (fell <= little))
        return LBFGSState(
            found.parameters,
            found.value,
            found.gradient,
            state.first_value,
            steps,
            changes,
            kept,
            found.evaluations,
            accepted,
            stuck=jnp.logical_not(accepted | informed | converged),
            converged=converged,
        )

    def point(self, objective: Objective, state: LBFGSState) -> Point:
        norm = euclidean_norm(objective.bounds.reduced(state.parameters, state.gradient))
        return Point(
            state.parameters, state.value, norm, state.evaluations, state.accepted, state.stuck, state.converged
        )

    def _remember(
        self, state: LBFGSState, found: Found, accepted: Bool[Array, ""]
    ) -> tuple[PyTree[Array], PyTree[Array], Int[Array, ""]]:
        """The memory with the newest pair at its end, if that has positive curvature; empty after a failed search."""
        step = subtract(found.parameters, state.parameters)
        change = subtract(found.gradient, state.gradient)
        eps = jnp.finfo(state.value.dtype).eps
        curved = dot(step, change) > eps * euclidean_norm(step) * euclidean_norm(change)

        def append(pairs: Array, newest: Array) -> Array:
            return jnp.concatenate([pairs[1:], newest[None]])

        steps = select(accepted & curved, jtu.tree_map(append, state.steps, step), state.steps)
        changes = select(accepted & curved, jtu.tree_map(append, state.changes, change), state.changes)
        kept = jnp.where(curved, jnp.minimum(state.kept + 1, self.memory), state.kept)
        return steps, changes, jnp.where(accepted, kept, jnp.zeros_like(kept))
