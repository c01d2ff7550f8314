"""Fitting a model: the loop around any optimiser, with progress, history, stop rules and the best model kept."""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
import optimistix as optx
from jaxtyping import PyTree, Scalar

from ._driver import AbstractDriver, Objective, Point
from ._history import FitResult, History, Record
from ._optax_driver import OptaxDriver, import_optax
from ._optimistix_driver import OptimistixDriver
from ._progress import AbstractProgress, Lines, Silent
from ._stop import AbstractStop, MaxIterations

_LINES = Lines()


def fit(
    loss: Callable[[Any], Scalar],
    model: PyTree,
    optimiser: Any,
    *,
    stop: Sequence[AbstractStop] | AbstractStop = (),
    max_iterations: int = 100,
    trainable: Any = eqx.is_inexact_array,
    diagnostics: Mapping[str, Callable[[Any], Any]] | None = None,
    progress: AbstractProgress | None = _LINES,
    options: Mapping[str, Any] | None = None,
) -> FitResult:
    """Change a model until a loss is small enough.

    Nothing here hides JAX: the loss is an ordinary function, and a loop of one's own around optax or
    `optimistix.minimise` is as good. What this adds is a line for each iteration, a history, stop rules that know the
    data, and a best model that survives a failed solve or Ctrl-C.

    A step to where the loss or its gradient is not finite is not taken. With `kp.solve(..., throw=False)` such a trial
    is then shortened and retried; with `throw=True` the error ends the fit, and the best model before it is returned
    with `failed=True`. Only at the starting model is an error raised: there is nothing to keep.

    **Arguments:**

    - `loss`: `loss(model)` gives a scalar. A least-squares solver needs one with a residual: `LeastSquares`, or sums of
        it with penalties that are sums of squares.
    - `model`: where to start: any pytree, usually an Equinox module.
    - `optimiser`: an optax transformation (`optax.lbfgs()`, `optax.adam(1e-2)`), an optimistix minimiser
        (`optimistix.BFGS(rtol, atol)`) or least-squares solver (`optimistix.LevenbergMarquardt(rtol, atol)`). For a
        field from many data `optax.lbfgs()` is the one to begin with; for up to some hundred unknowns
        Levenberg–Marquardt. optimistix solvers that build a matrix (BFGS, and Levenberg–Marquardt with its default
        linear solver) are for small numbers of unknowns.
    - `stop`: stop rules beside `max_iterations`; the first that gives a reason ends the fit.
    - `max_iterations`: the most iterations. One iteration is one step of an optax optimiser, its line search included,
        or one step of an optimistix solver, accepted or not.
    - `trainable`: which leaves of the model are free: a predicate, or a pytree of booleans like the model.
    - `diagnostics`: named scalar functions of the model that are shown and recorded at each iteration, for example the
        distance from a known truth.
    - `progress`: `Lines()`, `Bar()`, or `None` for no output.
    - `options`: handed to an optimistix solver.

    **Returns:** a `FitResult` of model, history and reason.

    **Raises:** `TypeError` for an optimiser of another kind or a loss without the residual that it needs; `ValueError`
    for a model without free leaves and for a loss that is not a finite scalar at the start; `ImportError` where the
    optimiser's or progress bar's library is missing.
    """
    _check_optimiser(optimiser, loss)
    parameters, fixed = eqx.partition(model, trainable)
    if not jtu.tree_leaves(parameters):
        message = "fit: the model has no trainable leaves. Make its unknowns JAX arrays of floats, or pass `trainable`."
        raise ValueError(message)
    # Without weak types: an update removes them, and every later step would be traced a second time (optimistix's
    # Gauss–Newton solvers, which keep a linearisation, would fail there).
    parameters = jtu.tree_map(lambda leaf: jnp.asarray(leaf, leaf.dtype), parameters)
    objective = Objective(loss, fixed)
    _check_scalar(objective, parameters)
    driver = _driver(optimiser, dict(options or {}))
    rules = (*([stop] if isinstance(stop, AbstractStop) else stop), MaxIterations(max_iterations))
    watch = _Watch(objective, dict(diagnostics or {}), time.perf_counter())

    state, point = _start(driver, objective, parameters)
    history = History((watch.record(0, point),))
    if not np.isfinite(history[0].value) or not np.isfinite(history[0].gradient_norm):
        message = (
            f"fit: at the starting model the loss is {history[0].value} and its gradient's norm "
            f"{history[0].gradient_norm}. Start from a model at which the solve succeeds."
        )
        raise ValueError(message)
    progress = Silent() if progress is None else progress
    handle = progress.start()
    progress.update(handle, history[-1])
    best, ending = parameters, _ending(driver, rules, history, point)
    while ending is None:
        try:
            state, point = _advance(driver, objective, state)
            history = history.append(watch.record(len(history), point))
        except KeyboardInterrupt:
            ending = _Ending("interrupted from the keyboard", None, failed=False)
        except RuntimeError as error:
            ending = _Ending(f"a solve failed: {_failure(error)}", None, failed=True)
        else:
            progress.update(handle, history[-1])
            best = point.parameters if history[-1].value <= np.min(history.value) else best
            ending = _ending(driver, rules, history, point)
    progress.close(handle, ending.reason)
    return FitResult(eqx.combine(best, fixed), history, ending.reason, ending.stopped_by, ending.failed)


@eqx.filter_jit
def _start(driver: AbstractDriver, objective: Objective, parameters: PyTree) -> tuple[PyTree, Point]:
    state = _strong(driver.init(objective, parameters))
    return state, driver.point(objective, state)


@eqx.filter_jit
def _advance(driver: AbstractDriver, objective: Objective, state: PyTree) -> tuple[PyTree, Point]:
    state = _strong(driver.step(objective, state))
    return state, driver.point(objective, state)


def _strong(state: PyTree) -> PyTree:
    """Without weak types, which optimisers leave in their first state: else the second step is compiled once more."""

    def strong(leaf: Any) -> Any:
        return jnp.asarray(leaf, leaf.dtype) if eqx.is_array(leaf) and jnp.issubdtype(leaf.dtype, jnp.number) else leaf

    return jtu.tree_map(strong, state)


@eqx.filter_jit
def _misfit(objective: Objective, parameters: PyTree, value: Scalar) -> Scalar:
    return objective.reduced_misfit(parameters, value)


class _Watch(eqx.Module):
    """Turns points into records."""

    objective: Objective
    diagnostics: dict[str, Callable[[Any], Any]]
    began: float

    def record(self, iteration: int, point: Point) -> Record:
        model = eqx.combine(point.parameters, self.objective.fixed)
        value = float(point.value)  # waits for the device, so that `seconds` is true
        return Record(
            iteration=iteration,
            value=value,
            misfit=float(_misfit(self.objective, point.parameters, point.value)),
            gradient_norm=float(point.gradient_norm),
            evaluations=int(point.evaluations),
            accepted=bool(point.accepted),
            seconds=time.perf_counter() - self.began,
            diagnostics={name: float(function(model)) for name, function in self.diagnostics.items()},
        )


class _Ending(eqx.Module):
    reason: str
    stopped_by: AbstractStop | None
    failed: bool


def _ending(driver: AbstractDriver, rules: Sequence[AbstractStop], history: History, point: Point) -> _Ending | None:
    """Why to stop after this iteration, if at all. A rule is asked first: a goal reached is no failure."""
    for rule in rules:
        reason = rule(history)
        if reason is not None:
            return _Ending(reason, rule, failed=False)
    if bool(point.stuck):
        return _Ending(driver.stuck_reason, None, failed=True)
    if bool(point.converged):
        return _Ending("the optimiser's own tolerances are met", None, failed=False)
    return None


def _check_optimiser(optimiser: Any, loss: Any):
    if isinstance(optimiser, optx.AbstractLeastSquaresSolver) and not hasattr(loss, "residual"):
        message = (
            f"fit: {type(optimiser).__name__} is a least-squares solver and needs a loss with a residual, but got "
            f"{type(loss).__name__}. Use kp.inverse.LeastSquares, or a minimiser such as optax.lbfgs()."
        )
        raise TypeError(message)
    if not isinstance(optimiser, _OPTIMISTIX) and not _is_optax(optimiser):
        message = (
            f"fit: optimiser is {optimiser!r}; give an optax GradientTransformation, or an optimistix minimiser or "
            "least-squares solver (an object, not its class)."
        )
        raise TypeError(message)


_OPTIMISTIX = (optx.AbstractMinimiser, optx.AbstractLeastSquaresSolver)


def _is_optax(optimiser: Any) -> bool:
    """By its two functions, so that optax need not be there to tell."""
    if isinstance(optimiser, type):
        return False
    return callable(getattr(optimiser, "init", None)) and callable(getattr(optimiser, "update", None))


def _driver(optimiser: Any, options: dict[str, Any]) -> AbstractDriver:
    if isinstance(optimiser, _OPTIMISTIX):
        return OptimistixDriver(optimiser, options)
    import_optax()
    return OptaxDriver(optimiser)


def _check_scalar(objective: Objective, parameters: PyTree):
    value = eqx.filter_eval_shape(objective, parameters)
    is_array = isinstance(value, jax.ShapeDtypeStruct)
    if not (is_array and value.shape == () and jnp.issubdtype(value.dtype, jnp.floating)):
        found = f"an array of shape {value.shape} and type {value.dtype}" if is_array else f"a {type(value).__name__}"
        message = f"fit: loss(model) must be a real scalar array, but is {found}."
        raise ValueError(message)


def _failure(error: RuntimeError) -> str:
    """What an `eqx.error_if` inside the loss said; any other error (no memory, a bug) is raised again."""
    # The message stands behind the exception's name in a longer text, which differs between `jit` and `filter_jit`.
    found = re.search(r"EquinoxRuntimeError: (.+)", str(error))
    if found is None:
        raise error
    return found.group(1).strip()
