"""Gauss–Newton and Levenberg–Marquardt for many unknowns, within bounds."""

from collections.abc import Callable
from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Bool, Int, PyTree, Scalar

from ._driver import AbstractDriver, Objective, Point, check_real, check_residual
from ._normal_equations import (
    DampedProblem,
    Krylov,
    forcing_term,
    in_units,
    is_small,
    leaf_curvatures,
    linearise,
    solve_damped,
    value_of_residual,
)
from ._tree import add_scaled, all_finite, dot, euclidean_norm, select, subtract

# The share of the predicted decrease that a step must bring: any real decrease will do (Nielsen 1999).
_LEAST_GAIN = 1e-4
# The least factor of the damping after a good step. Nielsen's 1/3 takes 25 steps to forget a damping of 1e-3 where the
# data determine directions a million times less well than others; a tenth takes 12.
_LEAST_FACTOR = 0.1
_LEAST_DAMPING = 1e-12


class GaussNewtonState(eqx.Module):
    """Where an iteration stands: plain arrays, so that it can be saved.

    `root` has one number for each leaf, the square root of the curvature along it; equations are solved in `root x`.
    """

    parameters: PyTree
    value: Scalar
    gradient: PyTree
    first_value: Scalar
    root: PyTree
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

    Each iteration linearises the residual and solves

        (JᵀJ + μ D) s = -Jᵀ r        on the unknowns that are not held by a limit

    by conjugate gradients, with products `J v` (forward mode) and `Jᵀ w` (reverse mode): no matrix is made, so a field
    of many thousands of unknowns is no obstacle. The solve is as exact as the progress deserves (Eisenstat and Walker).
    `x + s`, projected on the limits, is taken if the loss falls; the damping `μ` follows the ratio of the actual
    decrease to the predicted one (Nielsen). A trial at which the loss or gradient is not finite is refused, the damping
    raised, and the equations solved again. `D` scales each *leaf* of the model by its own curvature at the start, so
    that unknowns of different units need no scaling by hand; within a leaf all numbers count alike. The number of
    iterations does not depend on the mesh as long as the loss does not (penalties weighted with volumes, data that the
    mesh resolves): 6 or 7 for a diffusivity field on 12 × 12 to 128 × 128 cells. CG steps grow where a penalty on
    slopes makes the equations stiff, from 111 on 32 × 32 cells to 246 on 128 × 128 in that fit; preconditioned with
    `kp.inverse.H1(grid, length).riesz`, from 100 to 127.

    An iteration evaluates the residual twice (to linearise it, and at the trial), once more for each refused trial
    and solve, beside one product with `J` and one with `Jᵀ` for each CG step; the record counts them.

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
        solved; it pays where the penalty and not the data makes the equations stiff (a strong one, on a fine mesh).

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
        linearised = linearise(objective.residual, parameters)
        value = value_of_residual(linearised)
        gradient = linearised.transposed(linearised.residual)
        dtype = euclidean_norm(parameters).dtype
        # Of the start, once and for all: it is about units, not about curvatures that change on the way.
        found = leaf_curvatures(linearised, gradient)
        root = jtu.tree_map(lambda c: jnp.sqrt(jnp.where(c > 0, c, jnp.ones_like(c))).astype(dtype), found)
        return GaussNewtonState(
            parameters,
            value,
            gradient,
            first_value=value,
            root=root,
            damping=jnp.asarray(self.damping, dtype),
            growth=jnp.asarray(2.0, dtype),
            forcing=jnp.asarray(self.forcing, dtype),
            previous_norm=euclidean_norm(objective.bounds.reduced(parameters, gradient)).astype(dtype),
            evaluations=jnp.asarray(1),
            jacobian_products=jnp.asarray(len(jtu.tree_leaves(root))),
            transposed_products=jnp.asarray(1),
            accepted=jnp.asarray(True),
            converged=jnp.asarray(False),
        )

    def step(self, objective: Objective, state: GaussNewtonState) -> GaussNewtonState:
        # Beyond eps^1.5 of its first value, a loss that goes to zero is made of rounding.
        eps = jnp.finfo(state.value.dtype).eps
        little = jnp.maximum(self.rtol * state.value, eps**1.5 * state.first_value)
        norm = euclidean_norm(objective.bounds.reduced(state.parameters, state.gradient)).astype(state.damping.dtype)
        forcing = forcing_term(norm, state.previous_norm, state.forcing, self.forcing)
        if is_small(state.parameters):
            forcing = jnp.full_like(forcing, max(1e-8, 10 * float(jnp.finfo(forcing.dtype).eps)))
        trial = self._try(objective, state, forcing, little)
        parameters, value, gradient = select(
            trial.accepted,
            (trial.candidate, trial.value, trial.gradient),
            (state.parameters, state.value, state.gradient),
        )
        undamped = trial.accepted & (state.damping <= self.damping)
        return GaussNewtonState(
            parameters,
            value,
            gradient,
            state.first_value,
            state.root,
            trial.damping,
            trial.growth,
            forcing,
            norm,
            evaluations=state.evaluations + trial.evaluations,
            jacobian_products=state.jacobian_products + trial.jacobian_products,
            transposed_products=state.transposed_products + trial.transposed_products,
            accepted=trial.accepted,
            converged=(trial.promised <= little) & (undamped | jnp.logical_not(trial.accepted)),
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

    def _try(self, objective: Objective, state: GaussNewtonState, forcing: Scalar, little: Scalar) -> "_Trial":
        """Solve and evaluate with more and more damping, until the loss falls or there is only `little` to gain.

        Solving at the model and evaluating at a candidate are the same program with and without CG steps, so that it is
        compiled once. It costs a second evaluation of the residual at each model that was accepted, beside some ten or
        a hundred products.
        """
        root = state.root
        preconditioner = None if self.preconditioner is None else _in_units(self.preconditioner, root)

        def visit(before: _Trial) -> _Trial:
            at = select(before.solved, before.candidate, state.parameters)
            linearised = in_units(linearise(objective.residual, at), at, root)
            max_steps = jnp.where(before.solved, 0, self.max_cg_steps)
            problem = DampedProblem(before.damping, forcing, max_steps, preconditioner)
            found = solve_damped(linearised, at, objective.bounds, problem)
            counted = before._replace(
                evaluations=before.evaluations + 1,
                jacobian_products=before.jacobian_products + found.taken,
                transposed_products=before.transposed_products + found.taken + 1,
            )
            solved = _with_candidate(counted, objective, state, found)
            judged = _judged(counted, state, value_of_residual(linearised), found)
            return select(before.solved, judged, solved)

        def go_on(trial: _Trial) -> Bool[Array, ""]:
            hopeless = (trial.tried > 0) & (trial.promised <= little)
            return jnp.logical_not(trial.accepted | hopeless) & (trial.tried < self.max_trials)

        zero, no = jnp.asarray(0), jnp.asarray(False)
        nothing = jnp.zeros_like(state.value)
        return jax.lax.while_loop(
            go_on,
            visit,
            _Trial(
                state.parameters,
                state.value,
                state.gradient,
                state.damping,
                state.growth,
                predicted=nothing,
                slope=nothing,
                promised=nothing,
                solved=no,
                accepted=no,
                tried=zero,
                evaluations=zero,
                jacobian_products=zero,
                transposed_products=zero,
            ),
        )


class _Trial(NamedTuple):
    """A candidate and what was predicted of it; `promised` is the prediction of the first, least damped one."""

    candidate: PyTree
    value: Scalar
    gradient: PyTree
    damping: Scalar
    growth: Scalar
    predicted: Scalar
    slope: Scalar
    promised: Scalar
    solved: Bool[Array, ""]
    accepted: Bool[Array, ""]
    tried: Int[Array, ""]
    evaluations: Int[Array, ""]
    jacobian_products: Int[Array, ""]
    transposed_products: Int[Array, ""]


def _with_candidate(before: _Trial, objective: Objective, state: GaussNewtonState, found: Krylov) -> _Trial:
    """The end of the step, projected on the limits, and the decrease that the model predicts of it.

    `½ (damping |step|² - <gradient, step>)` is exact where no limit is met, and the usual estimate where one is.
    """
    root = state.root
    unscaled = jtu.tree_map(lambda y, r, p: (y / r).astype(p.dtype), found.step, root, state.parameters)
    candidate = objective.bounds.project(add_scaled(state.parameters, jnp.ones(()), unscaled))
    moved = subtract(candidate, state.parameters)
    scaled = jtu.tree_map(lambda s, r: s.astype(r.dtype) * r, moved, root)
    slope = dot(state.gradient, moved).astype(state.value.dtype)
    predicted = 0.5 * ((before.damping * dot(scaled, scaled)).astype(slope.dtype) - slope)
    return before._replace(
        candidate=candidate,
        predicted=predicted,
        slope=slope,
        promised=jnp.where(before.tried == 0, predicted, before.promised),
        solved=jnp.asarray(True),
    )


def _judged(before: _Trial, state: GaussNewtonState, value: Scalar, found: Krylov) -> _Trial:
    """Whether the candidate is taken, and the damping for what comes next (Nielsen's rule).

    The decrease has to be a part of the one to first order, as for every projected step, and all has to be finite.
    """
    gradient = jtu.tree_map(lambda g, r, p: (g * r).astype(p.dtype), found.gradient, state.root, state.gradient)
    gain = ((state.value - value) / before.predicted).astype(before.damping.dtype)
    falls = (before.slope < 0) & (value <= state.value + _LEAST_GAIN * before.slope)
    accepted = falls & all_finite(value, gradient, before.candidate)
    factor = jnp.clip(1 - (2 * gain - 1) ** 3, _LEAST_FACTOR, 2.0)
    lowered = jnp.maximum(before.damping * factor, _LEAST_DAMPING)
    return before._replace(
        value=value,
        gradient=gradient,
        damping=jnp.where(accepted, lowered, before.damping * before.growth),
        growth=jnp.where(accepted, jnp.full_like(before.growth, 2.0), 2 * before.growth),
        solved=jnp.asarray(False),
        accepted=accepted,
        tried=before.tried + 1,
    )


def _in_units(preconditioner: Callable[[PyTree], PyTree], root: PyTree[Scalar]) -> Callable[[PyTree], PyTree]:
    """The preconditioner between scaled gradients and scaled unknowns."""

    def apply(residual: PyTree[Array]) -> PyTree[Array]:
        answer = preconditioner(jtu.tree_map(lambda g, r: g * r, residual, root))
        return jtu.tree_map(lambda x, r: x.astype(r.dtype) * r, answer, root)

    return apply
