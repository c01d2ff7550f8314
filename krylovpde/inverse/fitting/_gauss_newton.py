"""Gauss–Newton and Levenberg–Marquardt for many unknowns, within bounds."""

from collections.abc import Callable
from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Bool, Int, PyTree, Scalar

from ._driver import AbstractDriver, Objective, Point, check_real, check_residual
from ._normal_equations import Linearised, damped_step, forcing_term, in_units, is_small, leaf_curvatures, linearise
from ._tree import add_scaled, all_finite, dot, euclidean_norm, select, subtract

# The share of the predicted decrease that a step must bring: any real decrease will do (Nielsen 1999).
_LEAST_GAIN = 1e-4
# The least factor of the damping after a good step. Nielsen's 1/3 takes 25 steps to forget a damping of 1e-3 where the
# data determine directions a million times less well than others; a tenth takes 12.
_LEAST_FACTOR = 0.1
_LEAST_DAMPING = 1e-12


class GaussNewtonState(eqx.Module):
    """Where an iteration stands: plain arrays, so that it can be saved. `curvatures` has one number for each leaf."""

    parameters: PyTree
    value: Scalar
    gradient: PyTree
    first_value: Scalar
    curvatures: PyTree
    damping: Scalar
    growth: Scalar
    forcing: Scalar
    previous_norm: Scalar
    evaluations: Int[Array, ""]
    jacobian_products: Int[Array, ""]
    transposed_products: Int[Array, ""]
    accepted: Bool[Array, ""]
    converged: Bool[Array, ""]


class GaussNewton(AbstractDriver[GaussNewtonState]):
    """Matrix-free Gauss–Newton with Levenberg–Marquardt damping, for `½ |r(x)|²` with `lower <= x <= upper`.

    Each iteration linearises the residual once and solves

        (JᵀJ + μ D) s = -Jᵀ r        on the unknowns that are not held by a limit

    by conjugate gradients, with products `J v` (forward mode) and `Jᵀ w` (reverse mode): no matrix is made, so a field
    of many thousands of unknowns is no obstacle. The solve is as exact as the progress deserves (Eisenstat and Walker).
    `x + s`, projected on the limits, is taken if the loss falls; the damping `μ` follows the ratio of the actual
    decrease to the predicted one (Nielsen). A trial at which the loss or gradient is not finite is refused, the damping
    raised, and the equations solved again with the same linearisation. `D` scales each *leaf* of the model by its own
    curvature, so that unknowns of different units need no scaling by hand; within a leaf all numbers count alike.

    Good for: fields and few numbers alike, where a residual is there and its Jacobian matters (diffusivities from
    sensors); 5 to 15 iterations are usual. Prefer `LBFGS` where products with `J` are dear and the start is far away
    (waves), or the loss is no sum of squares. For up to some hundred unknowns without limits
    `optimistix.LevenbergMarquardt` is as good.

    **Arguments:**

    - `damping`: the first `μ`, relative to the curvature along the gradient. 1e-3 is bold; 1 is for starts from which
        a full step goes astray.
    - `forcing`: the largest relative residual of the linear solves, between 0 and 1. Up to 32 unknowns are always
        solved to 1e-8, where conjugate gradients end by themselves.
    - `max_cg_steps`: the most CG steps of one solve, each of which costs one `J v` and one `Jᵀ w`. A solve that is cut
        off gives a shorter, smoother step, which regularises too.
    - `max_trials`: the most dampings that are tried in one iteration.
    - `rtol`: converged where an undamped step would lower the loss by less than `rtol` times itself.
    - `preconditioner`: `preconditioner(gradient)`, a symmetric positive definite linear map from gradients to unknowns
        (pytrees like the model with `None` where nothing is free): roughly the inverse of `JᵀJ`, in practice the
        inverse of the penalty's Hessian, or a Riesz map. It changes how many CG steps a solve takes, not what is
        solved. With it, CG steps on a field do not grow as the mesh is refined; iterations do not without it either.

    **Raises** (in `fit`): `TypeError` for a loss without a residual and for complex unknowns (hold real and imaginary
    part as two leaves).

    Sources: Nocedal, Wright, *Numerical Optimization* (2006), §10.3; Nielsen, "Damping parameter in Marquardt's
    method", report IMM-REP-1999-05, DTU; Eisenstat, Walker, SIAM J. Sci. Comput. 17 (1996); bounds: Bertsekas, SIAM J.
    Control Optim. 20 (1982), two-metric projection.
    """

    damping: float = eqx.field(static=True, default=1e-3)
    forcing: float = eqx.field(static=True, default=0.1)
    max_cg_steps: int = eqx.field(static=True, default=50)
    max_trials: int = eqx.field(static=True, default=10)
    rtol: float = eqx.field(static=True, default=1e-8)
    preconditioner: Callable[[PyTree], PyTree] | None = None
    stuck_reason: ClassVar[str] = "no step lowers the loss, however short; the gradient may be inexact"

    def __check_init__(self):
        if not (self.damping > 0 and 0 < self.forcing < 1 and self.max_cg_steps >= 1 and self.max_trials >= 1):
            message = (
                "GaussNewton: damping must be positive, forcing between 0 and 1, max_cg_steps and max_trials at least "
                f"1; got {self.damping}, {self.forcing}, {self.max_cg_steps}, {self.max_trials}."
            )
            raise ValueError(message)

    @property
    def name(self) -> str:
        return "GaussNewton"

    def check(self, objective: Objective, parameters: PyTree):
        check_residual(objective, self.name)
        check_real(parameters, self.name)

    def init(self, objective: Objective, parameters: PyTree) -> GaussNewtonState:
        value, gradient = jax.value_and_grad(objective)(parameters)
        dtype = euclidean_norm(parameters).dtype
        zero = jnp.asarray(0)
        return GaussNewtonState(
            parameters,
            value,
            gradient,
            first_value=value,
            curvatures=jtu.tree_map(lambda _: jnp.zeros((), dtype), parameters),
            damping=jnp.asarray(self.damping, dtype),
            growth=jnp.asarray(2.0, dtype),
            forcing=jnp.asarray(self.forcing, dtype),
            previous_norm=euclidean_norm(objective.bounds.reduced(parameters, gradient)),
            evaluations=jnp.asarray(1),
            jacobian_products=zero,
            transposed_products=zero,
            accepted=jnp.asarray(True),
            converged=jnp.asarray(False),
        )

    def step(self, objective: Objective, state: GaussNewtonState) -> GaussNewtonState:
        # Beyond eps^1.5 of its first value, a loss that goes to zero is made of rounding.
        eps = jnp.finfo(state.value.dtype).eps
        little = jnp.maximum(self.rtol * state.value, eps**1.5 * state.first_value)
        local = self._local(objective, state)
        trial = self._try(objective, state, local, little)
        x, value, gradient = select(
            trial.accepted,
            (trial.parameters, trial.value, trial.gradient),
            (state.parameters, state.value, state.gradient),
        )
        undamped = trial.accepted & (state.damping <= self.damping)
        return GaussNewtonState(
            x,
            value,
            gradient,
            state.first_value,
            local.curvatures,
            trial.damping,
            trial.growth,
            local.forcing,
            local.norm,
            # The linearisation evaluates the residual once more.
            evaluations=state.evaluations + 1 + trial.tried,
            jacobian_products=state.jacobian_products + local.products + trial.jacobian_products,
            transposed_products=state.transposed_products + trial.transposed_products,
            accepted=trial.accepted,
            converged=(trial.predicted <= little) & (undamped | jnp.logical_not(trial.accepted)),
        )

    def point(self, objective: Objective, state: GaussNewtonState) -> Point:
        return Point(
            state.parameters,
            state.value,
            euclidean_norm(objective.bounds.reduced(state.parameters, state.gradient)),
            state.evaluations,
            state.accepted,
            stuck=jnp.logical_not(state.accepted | state.converged),
            converged=state.converged,
            jacobian_products=state.jacobian_products,
            transposed_products=state.transposed_products,
        )

    def _local(self, objective: Objective, state: GaussNewtonState) -> "_Local":
        linearised = linearise(objective.residual, state.parameters)
        # As in MINPACK the scale only grows: a leaf does not get unscaled where its derivative happens to vanish.
        found = leaf_curvatures(linearised, state.gradient)
        curvatures = jtu.tree_map(lambda new, old: jnp.maximum(new.astype(old.dtype), old), found, state.curvatures)
        root = jtu.tree_map(lambda c: jnp.sqrt(jnp.where(c > 0, c, jnp.ones_like(c))), curvatures)
        dtype = state.damping.dtype
        norm = euclidean_norm(objective.bounds.reduced(state.parameters, state.gradient)).astype(dtype)
        forcing = forcing_term(norm, state.previous_norm, state.forcing, self.forcing)
        if is_small(state.parameters):
            forcing = jnp.full_like(forcing, max(1e-8, 10 * float(jnp.finfo(dtype).eps)))
        return _Local(
            in_units(linearised, state.parameters, root),
            jtu.tree_map(lambda g, r: g.astype(dtype) / r, state.gradient, root),
            root,
            objective.bounds.free(state.parameters, state.gradient),
            curvatures,
            forcing,
            norm,
            products=len(jtu.tree_leaves(root)),
        )

    def _try(self, objective: Objective, state: GaussNewtonState, local: "_Local", little: Scalar) -> "_Trial":
        """Solve and evaluate with more and more damping, until the loss falls or there is only `little` to gain."""
        preconditioner = None if self.preconditioner is None else _in_units(self.preconditioner, local.root)

        def attempt(before: _Trial) -> _Trial:
            solved = damped_step(
                local.linearised,
                local.gradient,
                before.damping,
                local.forcing,
                local.free,
                preconditioner,
                self.max_cg_steps,
            )
            unscaled = jtu.tree_map(lambda y, r, p: (y / r).astype(p.dtype), solved.step, local.root, state.parameters)
            parameters = objective.bounds.project(add_scaled(state.parameters, jnp.ones(()), unscaled))
            predicted = self._predicted(state, local, parameters)
            value, gradient = jax.value_and_grad(objective)(parameters)
            gain = ((state.value - value) / predicted).astype(before.damping.dtype)
            usable = solved.successful & all_finite(value, gradient) & (predicted > 0)
            accepted = usable & (gain > _LEAST_GAIN)
            damping, growth = _next_damping(before.damping, before.growth, gain, accepted)
            return _Trial(
                parameters,
                value,
                gradient,
                damping,
                growth,
                # What the least damped trial promised says whether there is anything left to gain.
                predicted=jnp.where(before.tried == 0, predicted, before.predicted),
                accepted=accepted,
                tried=before.tried + 1,
                # The start of a CG solve costs a product, and the prediction one more.
                jacobian_products=before.jacobian_products + solved.num_steps + 2,
                transposed_products=before.transposed_products + solved.num_steps + 1,
            )

        def go_on(trial: _Trial) -> Bool[Array, ""]:
            hopeless = (trial.tried > 0) & (trial.predicted <= little)
            return jnp.logical_not(trial.accepted | hopeless) & (trial.tried < self.max_trials)

        zero, no = jnp.asarray(0), jnp.asarray(False)
        start = _Trial(
            state.parameters,
            state.value,
            state.gradient,
            state.damping,
            state.growth,
            jnp.zeros_like(state.value),
            no,
            zero,
            zero,
            zero,
        )
        return jax.lax.while_loop(go_on, attempt, start)

    def _predicted(self, state: GaussNewtonState, local: "_Local", parameters: PyTree[Array]) -> Scalar:
        """`-<g, s> - ½ |J s|²` of the step as it was projected."""
        moved = subtract(parameters, state.parameters)
        image = local.linearised.forward(jtu.tree_map(lambda s, r: s.astype(r.dtype) * r, moved, local.root))
        predicted = -dot(state.gradient, moved) - 0.5 * dot(image, image)
        return predicted.astype(state.value.dtype)


class _Local(NamedTuple):
    """What an iteration knows before its first trial."""

    linearised: Linearised
    gradient: PyTree
    root: PyTree
    free: PyTree
    curvatures: PyTree
    forcing: Scalar
    norm: Scalar
    products: int


class _Trial(NamedTuple):
    parameters: PyTree
    value: Scalar
    gradient: PyTree
    damping: Scalar
    growth: Scalar
    predicted: Scalar
    accepted: Bool[Array, ""]
    tried: Int[Array, ""]
    jacobian_products: Int[Array, ""]
    transposed_products: Int[Array, ""]


def _next_damping(damping: Scalar, growth: Scalar, gain: Scalar, accepted: Bool[Array, ""]) -> tuple[Scalar, Scalar]:
    """Nielsen's rule: the smooth factor `1 - (2 gain - 1)³` after a step, ever faster growth after a refusal."""
    factor = jnp.clip(1 - (2 * gain - 1) ** 3, _LEAST_FACTOR, 2.0)
    lowered = jnp.maximum(damping * factor, _LEAST_DAMPING)
    two = jnp.full_like(growth, 2.0)
    return jnp.where(accepted, lowered, damping * growth), jnp.where(accepted, two, 2 * growth)


def _in_units(preconditioner: Callable[[PyTree], PyTree], root: PyTree[Scalar]) -> Callable[[PyTree], PyTree]:
    """The preconditioner between scaled gradients and scaled unknowns."""

    def apply(residual: PyTree[Array]) -> PyTree[Array]:
        answer = preconditioner(jtu.tree_map(lambda g, r: g * r, residual, root))
        return jtu.tree_map(lambda x, r: x.astype(r.dtype) * r, answer, root)

    return apply
