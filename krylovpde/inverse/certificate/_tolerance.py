"""Whether the solver is more accurate than the data."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, PyTree

from ...equation import WaveState
from ..experiment import Experiment
from ._experiments_of import data_terms, experiments_of
from ._finding import Finding

# Solver errors do not average out as noise does: they should stay well below it.
_ALLOWED = 1 / 3


def coarse_tolerances(loss: Any, model: PyTree) -> list[Finding]:
    """A finding for each array of data, most of which are known better than the solver computes them."""
    findings = []
    for term in data_terms(loss):
        experiments = experiments_of(term)
        if experiments:
            findings += _coarse(term, model, experiments)
    return findings


def _coarse(term: Any, model: PyTree, experiments: list[Experiment]) -> list[Finding]:
    dtypes = [leaf.dtype for leaf in jtu.tree_leaves(eqx.filter_eval_shape(term.predict, model))]
    coarsest = max(float(jnp.finfo(dtype).eps) for dtype in dtypes)
    default = 1e-4 if coarsest > 1e-10 else 1e-6
    given = [experiment.options.get("rtol") for experiment in experiments]
    rtol = max(default if tolerance is None else float(tolerance) for tolerance in given)
    initial = max(_size_of_state(experiment, model) for experiment in experiments)
    # The loss itself says how many sigma an error of the predictions is: for relative errors it is another number.
    exact = jtu.tree_map(_filled, term.data, term.sigma)
    sizes = jtu.tree_map(lambda data, sigma: max(_rms(data, sigma), initial), term.data, term.sigma)
    wrong = jtu.tree_map(lambda data, size: data + rtol * size, exact, sizes)
    shifts = jtu.tree_map(lambda a, b: np.abs(np.asarray(b - a)), _residual(term, exact), _residual(term, wrong))
    findings = []
    for (path, shift), sigma, size in zip(
        jtu.tree_leaves_with_path(shifts), jtu.tree_leaves(term.sigma), jtu.tree_leaves(sizes), strict=True
    ):
        counted = np.broadcast_to(np.isfinite(np.asarray(sigma)), np.shape(shift))
        typical = float(np.median(shift[counted])) if counted.any() else 0.0
        if typical > _ALLOWED:
            findings.append(Finding("tolerance", _message(jtu.keystr(path), rtol, size, typical, coarsest)))
    return findings


def _message(where: str, rtol: float, size: float, typical: float, epsilon: float) -> str:
    needed = 0.1 * rtol / typical
    at = f" at {where}" if where else ""
    cure = "double precision and a smaller rtol" if needed < 10 * epsilon else f"options={{'rtol': {needed:.1g}}}"
    return (
        f"tolerance: rtol = {rtol:.1e} lets the solver be wrong by {rtol * size:.2g} where the state is {size:.3g}, "
        f"{typical:.2g} times the standard deviation of the data{at}. The fit would stop at the solver's errors. "
        f"Use {cure}, or a sigma that holds these errors."
    )


def _residual(term: Any, prediction: PyTree[Array]) -> PyTree[Array]:
    known = eqx.tree_at(lambda t: t.predict, term, lambda _: prediction)
    return known.residual(None)


def _filled(data: Array, sigma: Array) -> Array:
    """Data that are finite throughout; what does not count has no say."""
    return jnp.where(jnp.isfinite(sigma), data, jnp.ones_like(data))


def _rms(data: Array, sigma: Array) -> float:
    counted = np.asarray(data)[np.broadcast_to(np.isfinite(np.asarray(sigma)), np.shape(data))]
    return float(np.sqrt(np.mean(np.abs(counted) ** 2))) if counted.size else 0.0


def _size_of_state(experiment: Experiment, model: PyTree) -> float:
    """The root mean square of the initial state; 0 where it has parts in several units."""
    initial = experiment.initial(model) if callable(experiment.initial) else experiment.initial
    initial = initial.displacement if isinstance(initial, WaveState) else initial
    if not isinstance(initial, jax.Array | np.ndarray):
        return 0.0
    return float(np.sqrt(np.mean(np.abs(np.asarray(initial)) ** 2)))
