"""Fitting a model: the loop around any optimiser, with progress, history, stop rules and the best model kept."""

import re
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
import optimistix as optx
from jaxtyping import PyTree, Scalar

from ..certificate import findings_of, warn_of
from ._bounds import bounds_like
from ._checkpoint import Checkpoint, Standing
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
    callbacks: Sequence[Callable[[Record, Any], Any]] | Callable[[Record, Any], Any] = (),
    checkpoint: Checkpoint | None = None,
    certified: bool = True,
) -> FitResult:
    """Change a model until a loss is small enough.

    Nothing here hides JAX: the loss is an ordinary function, and a loop of one's own around optax or
    `optimistix.minimise` is as good. What this adds is a line for each iteration, a history, stop rules that know the
    data, limits, a file to go on from, and a best model that survives a failed solve or Ctrl-C.

    A step to where the loss or its gradient is not finite is not taken. With `kp.solve(..., throw=False)` such a trial
    is then shortened and retried; with `throw=True` the error ends the fit, and the best model before it is returned
    with `failed=True`. Only at the starting model is an error raised: there is nothing to keep.

    **Arguments:**

    - `loss`: `loss(model)` gives a scalar. A least-squares solver needs one with a residual: `LeastSquares`, or sums of
        it with penalties that are sums of squares.
    - `model`: where to start: any pytree, usually an Equinox module. Numbers that stand outside of their `Box` are
        moved to its edge, with a warning.
    - `optimiser`: `kp.inverse.GaussNewton()` for losses with a residual, few unknowns or many; `kp.inverse.LBFGS()` for
        fields whose Jacobian is dear to apply, and losses that are no sum of squares; an optax transformation
        (`optax.adam(1e-2)`, `optax.lbfgs()`), an optimistix minimiser (`optimistix.BFGS(rtol, atol)`) or least-squares
        solver (`optimistix.LevenbergMarquardt(rtol, atol)`). optimistix solvers that build a matrix (BFGS, and
        Levenberg–Marquardt with its default linear solver) are for small numbers of unknowns.
    - `stop`: stop rules beside `max_iterations`; the first that gives a reason ends the fit.
    - `max_iterations`: the most iterations. One iteration is one step of an optax optimiser, its line search included,
        or one step of an optimistix solver, accepted or not.
    - `trainable`: which leaves of the model are free: a predicate, or a pytree of booleans like the model.
    - `diagnostics`: named scalar functions of the model that are shown and recorded at each iteration, for example the
        distance from a known truth.
    - `progress`: `Lines()`, `Bar()`, or `None` for no output.
    - `options`: handed to an optimistix solver.
    - `callbacks`: one or more functions `callback(record, model)`, called with each iteration's record and the model
        that it left, the starting model first: to plot, to log, to save. What they return is ignored; what they raise
        ends the fit with that error.
    - `checkpoint`: `kp.inverse.Checkpoint(path)` saves the fit and goes on from the file if it is there.
    - `certified`: whether to look for mistakes first, and warn (`kp.inverse.certify`); it solves nothing.

    **Returns:** a `FitResult` of model, history and reason.

    **Raises:** `TypeError` for an optimiser of another kind or a loss without the residual that it needs; `ValueError`
    for a model without free leaves, a loss that is not a finite scalar at the start, limits that the optimiser does not
    know, and a checkpoint that is damaged or another fit's; `ImportError` where the optimiser's or progress bar's
    library is missing.
    """
    driver = _driver(optimiser, dict(options or {}))
    objective, parameters = _unknowns(loss, model, trainable)
    driver.check(objective, parameters)
    _check_scalar(objective, parameters)
    if certified:
        warn_of(findings_of(loss, model, optimiser, max_iterations, trainable), stacklevel=3)
    rules = (*([stop] if isinstance(stop, AbstractStop) else stop), MaxIterations(max_iterations))
    told = (callbacks,) if callable(callbacks) else tuple(callbacks)
    watch = _Watch(objective, dict(diagnostics or {}), time.perf_counter())

    standing, point, watch = _begin(driver, watch, parameters, checkpoint)
    progress = Silent() if progress is None else progress
    handle = progress.start()
    progress.update(handle, standing.history[-1])
    ending = None
    if len(standing.history) == 1:
        ending = _told(told, standing, watch.model(parameters))
    ending = ending or _ending(driver, rules, standing.history, point)
    while ending is None:
        try:
            standing, point = _proceed(driver, watch, standing)
            _save(checkpoint, driver, standing)
        except KeyboardInterrupt:
            ending = _INTERRUPTED
        except RuntimeError as error:
            ending = _Ending(f"a solve failed: {_failure(error)}", None, failed=True)
        else:
            progress.update(handle, standing.history[-1])
            ending = _told(told, standing, watch.model(point.parameters))
            ending = ending or _ending(driver, rules, standing.history, point)
    progress.close(handle, ending.reason)
    if checkpoint is not None:
        checkpoint.save(driver, standing)
    return FitResult(watch.model(standing.best), standing.history, ending.reason, ending.stopped_by, ending.failed)


def _unknowns(loss: Callable[[Any], Scalar], model: PyTree, trainable: Any) -> tuple[Objective, PyTree]:
    """The loss as a function of the free parameters, and these: within their limits."""
    parameters, fixed = eqx.partition(model, trainable)
    if not jtu.tree_leaves(parameters):
        message = "fit: the model has no trainable leaves. Make its unknowns JAX arrays of floats, or pass `trainable`."
        raise ValueError(message)
    # Without weak types: an update removes them, and every later step would be traced a second time (optimistix's
    # Gauss–Newton solvers, which keep a linearisation, would fail there).
    parameters = jtu.tree_map(lambda leaf: jnp.asarray(leaf, leaf.dtype), parameters)
    bounds = bounds_like(model, parameters)
    projected = bounds.project(parameters)
    pairs = zip(jtu.tree_leaves(projected), jtu.tree_leaves(parameters), strict=True)
    moved = sum(int(jnp.sum(a != b)) for a, b in pairs)
    if moved:
        message = f"fit: {moved} numbers of the starting model are outside of their Box; the fit starts at its edge."
        warnings.warn(message, stacklevel=3)
    return Objective(loss, fixed, bounds), projected


def _begin(
    driver: AbstractDriver, watch: "_Watch", parameters: PyTree, checkpoint: Checkpoint | None
) -> tuple[Standing, Point, "_Watch"]:
    """The starting model, or where a checkpoint has got to; and the watch, set back by the time that took."""
    state, point = _start(driver, watch.objective, parameters)
    first = watch.record(0, point)
    if not np.isfinite(first.value) or not np.isfinite(first.gradient_norm):
        message = (
            f"fit: at the starting model the loss is {first.value} and its gradient's norm "
            f"{first.gradient_norm}. Start from a model at which the solve succeeds."
        )
        raise ValueError(message)
    standing = Standing(state, parameters, History((first,)))
    saved = None if checkpoint is None else checkpoint.load(driver, standing)
    if saved is None:
        _save(checkpoint, driver, standing)
        return standing, point, watch
    point = _look(driver, watch.objective, saved.state)
    return saved, point, watch.set_back(saved.history[-1].seconds)


def _proceed(driver: AbstractDriver, watch: "_Watch", before: Standing) -> tuple[Standing, Point]:
    """One iteration."""
    state, point = _advance(driver, watch.objective, before.state)
    history = before.history.append(watch.record(len(before.history), point))
    best = point.parameters if history[-1].value <= np.min(history.value) else before.best
    return Standing(state, best, history), point


def _save(checkpoint: Checkpoint | None, driver: AbstractDriver, standing: Standing):
    if checkpoint is not None and checkpoint.is_due(standing.history[-1].iteration):
        checkpoint.save(driver, standing)


def _told(callbacks: Sequence[Callable[[Record, Any], Any]], standing: Standing, model: PyTree) -> "_Ending | None":
    """Tell the callbacks; Ctrl-C while they run ends the fit as it does elsewhere."""
    try:
        for callback in callbacks:
            callback(standing.history[-1], model)
    except KeyboardInterrupt:
        return _INTERRUPTED
    return None


@eqx.filter_jit
def _start(driver: AbstractDriver, objective: Objective, parameters: PyTree) -> tuple[PyTree, Point]:
    state = _strong(driver.init(objective, parameters))
    return state, driver.point(objective, state)


@eqx.filter_jit
def _advance(driver: AbstractDriver, objective: Objective, state: PyTree) -> tuple[PyTree, Point]:
    state = _strong(driver.step(objective, state))
    return state, driver.point(objective, state)


@eqx.filter_jit
def _look(driver: AbstractDriver, objective: Objective, state: PyTree) -> Point:
    return driver.point(objective, state)


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

    def model(self, parameters: PyTree) -> PyTree:
        return eqx.combine(parameters, self.objective.fixed)

    def set_back(self, seconds: float) -> "_Watch":
        """A watch that goes on counting from the time of an earlier run."""
        return _Watch(self.objective, self.diagnostics, time.perf_counter() - seconds)

    def record(self, iteration: int, point: Point) -> Record:
        model = self.model(point.parameters)
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
            jacobian_products=int(point.jacobian_products),
            transposed_products=int(point.transposed_products),
        )


class _Ending(eqx.Module):
    reason: str
    stopped_by: AbstractStop | None
    failed: bool


_INTERRUPTED = _Ending("interrupted from the keyboard", None, failed=False)


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


_OPTIMISTIX = (optx.AbstractMinimiser, optx.AbstractLeastSquaresSolver)


def _is_optax(optimiser: Any) -> bool:
    """By its two functions, so that optax need not be there to tell."""
    if isinstance(optimiser, type):
        return False
    return callable(getattr(optimiser, "init", None)) and callable(getattr(optimiser, "update", None))


def _driver(optimiser: Any, options: dict[str, Any]) -> AbstractDriver:
    if isinstance(optimiser, AbstractDriver):
        return optimiser
    if isinstance(optimiser, _OPTIMISTIX):
        return OptimistixDriver(optimiser, options)
    if _is_optax(optimiser):
        import_optax()
        return OptaxDriver(optimiser)
    message = (
        f"fit: optimiser is {optimiser!r}; give kp.inverse.GaussNewton(), kp.inverse.LBFGS(), an optax "
        "GradientTransformation, or an optimistix minimiser or least-squares solver (an object, not its class)."
    )
    raise TypeError(message)


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
