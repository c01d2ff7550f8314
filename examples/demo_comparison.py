"""The demo's gradient beside Diffrax's: the same equation, data, precision and derivative.

For one pulse, the value of the loss and its gradient with respect to the speed in each cell. Diffrax gets two solvers,
two adjoints and three tolerances; its best setting is the fastest whose gradient is accurate enough for the data at
hand. The reference gradient is Diffrax's own, by its eighth-order method at a tolerance near what single precision
allows: a method and an adjoint that share nothing with krylovpde.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Scalar

import krylovpde as kp
from problems import AbstractFieldModel, FieldProblem, SpeedModel

GRADIENT_ACCURACY = 1e-3  # relative; the data are good to 2e-2
REFERENCE_TOLERANCE = 1e-6


class ByKrylov(eqx.Module):
    """Predictions by `kp.solve`, to its default tolerance."""

    experiment: kp.inverse.Experiment

    def __call__(self, model: AbstractFieldModel, rtol: Any) -> Float[Array, "times sensors"]:
        return self.experiment(model)


class ByDiffrax(eqx.Module):
    """Predictions by `diffrax.diffeqsolve`."""

    experiment: kp.inverse.Experiment
    solver: diffrax.AbstractSolver
    adjoint: diffrax.AbstractAdjoint

    def __call__(self, model: AbstractFieldModel, rtol: Any) -> Float[Array, "times sensors"]:
        times = self.experiment.times
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, state, equation: equation.vector_field(t, state)),
            self.solver,
            t0=0.0,
            t1=times[-1],
            dt0=None,
            y0=self.experiment.initial,
            args=model.equation(),  # not closed over: BacksolveAdjoint differentiates with respect to `args` alone
            saveat=diffrax.SaveAt(ts=times),
            stepsize_controller=diffrax.PIDController(rtol=rtol, atol=rtol),
            adjoint=self.adjoint,
            max_steps=4096,
        )
        return jax.vmap(lambda state: self.experiment.observe(state.displacement))(solution.ys)


@dataclasses.dataclass(frozen=True)
class Rival:
    """One way to value and gradient: its time, and how far its gradient is from the reference."""

    name: str
    seconds: float
    error: float


def against_diffrax(problem: FieldProblem, model: AbstractFieldModel, *, short: bool) -> list[Rival]:
    """Time them all; krylovpde is the first of the list.

    **Arguments:**

    - `problem`, `model`: what to differentiate, and where.
    - `short`: one solver, one tolerance.
    """
    run, data, speed = problem.experiments[0], problem.data[0] / problem.sigma, model.field

    def loss(speed: Array, predict: Any, rtol: Any) -> Scalar:
        return 0.5 * jnp.sum((predict(SpeedModel(speed=speed, grid=problem.grid), rtol) / problem.sigma - data) ** 2)

    value_and_grad = eqx.filter_jit(eqx.filter_value_and_grad(loss))
    best = ByDiffrax(run, diffrax.Dopri8(), diffrax.RecursiveCheckpointAdjoint())
    _, reference = value_and_grad(speed, best, jnp.asarray(REFERENCE_TOLERANCE))

    def enter(name: str, predict: Any, rtol: float) -> Rival:
        seconds, (_, gradient) = timed(lambda: value_and_grad(speed, predict, jnp.asarray(rtol)))
        return Rival(name, seconds, float(jnp.linalg.norm(gradient - reference) / jnp.linalg.norm(reference)))

    rivals = [enter("krylovpde", ByKrylov(run), 0.0)]
    for solver in (diffrax.Tsit5(),) if short else (diffrax.Tsit5(), diffrax.Dopri5()):
        for adjoint in (diffrax.RecursiveCheckpointAdjoint(), diffrax.BacksolveAdjoint()):
            for rtol in (1e-4,) if short else (1e-4, 1e-5, 1e-6):
                name = f"Diffrax {type(solver).__name__}, {type(adjoint).__name__}, rtol {rtol:.0e}"
                rivals.append(enter(name, ByDiffrax(run, solver, adjoint), rtol))
    return rivals


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """The best time of up to three calls, within about a second, and the result. The call before them compiles."""
    result, best, spent = jax.block_until_ready(function()), np.inf, 0.0
    for _ in range(3):
        began = time.perf_counter()
        result = jax.block_until_ready(function())
        seconds = time.perf_counter() - began
        best, spent = min(best, seconds), spent + seconds
        if spent > 1.0:
            break
    return float(best), result


def print_rivals(rivals: list[Rival]):
    """One line each, and the best of Diffrax."""
    print("\none value and gradient of one pulse, single precision              seconds   gradient's error")
    for rival in rivals:
        print(f"  {rival.name:<62}  {rival.seconds:8.3f}   {rival.error:.1e}")
    accurate = [rival for rival in rivals[1:] if rival.error <= GRADIENT_ACCURACY]
    if not accurate:
        print(f"no setting of Diffrax had an error below {GRADIENT_ACCURACY:.0e}")
        return
    best = min(accurate, key=lambda rival: rival.seconds)
    ratio = best.seconds / rivals[0].seconds
    print(f"best of Diffrax with an error below {GRADIENT_ACCURACY:.0e}: {best.name}; {ratio:.1f} x krylovpde's time")
