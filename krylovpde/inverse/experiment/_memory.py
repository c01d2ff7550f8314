"""How many runs fit into memory side by side: measured on compiled programs, told as a formula."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, PyTree, Scalar

from ._experiment_set import ExperimentSet
from ._experiments import Experiments

_Batched = Experiments | ExperimentSet


class MemoryFormula(eqx.Module):
    """`bytes = base + per_run * batch_size`: what a value and its gradient need, arguments and results included.

    **Arguments:**

    - `base`: what does not depend on the batch: data, model, gradient, states that all runs share.
    - `per_run`: what each run of a batch adds.
    - `num_runs`: how many runs there are.
    """

    base: int = eqx.field(static=True)
    per_run: int = eqx.field(static=True)
    num_runs: int = eqx.field(static=True)

    def bytes_for(self, batch_size: int) -> int:
        """What so many runs side by side need."""
        return self.base + self.per_run * batch_size

    def batch_size(self, memory: float | int) -> int:
        """The most runs that fit, at most all of them.

        **Raises:** `ValueError` where not even one fits.
        """
        if self.bytes_for(1) > memory:
            message = f"Not even one run at a time fits into {_readable(memory)}: {self}."
            raise ValueError(message)
        if self.per_run <= 0:
            return self.num_runs
        return min(self.num_runs, int((memory - self.base) // self.per_run))

    def __str__(self) -> str:
        return f"memory = {_readable(self.base)} + {_readable(self.per_run)} x batch_size ({self.num_runs} runs)"


def memory_formula(loss: Callable[[Any], Scalar] | _Batched, model: PyTree) -> MemoryFormula:
    """What a value and gradient of a loss need in memory, as a function of its experiments' `batch_size`.

    The program is compiled for batches of two and of four runs, and XLA says what memory each needs: temporaries,
    arguments and results. Nothing is run. The rest of a fit (an optimiser's history, other copies of the model) is not
    in it. XLA's buffers are what is planned; allocators may add some per cent.

    **Arguments:**

    - `loss`: a loss as an Equinox module that holds `Experiments` or an `ExperimentSet` (a `LeastSquares` of them, or a
        sum of losses), or these themselves: half the sum of squares of their predictions is then the loss.
    - `model`: with the shapes of the model to be fitted; derivatives are taken with respect to its inexact arrays.

    **Returns:** a `MemoryFormula`; `str` of it is a line to print.

    **Raises:** `TypeError` for a loss without experiments in it, such as a Python function; `RuntimeError` where the
    backend does not tell memory.
    """
    loss = _as_loss(loss)
    runs = [node for node in jtu.tree_leaves(loss, is_leaf=_is_batched) if _is_batched(node)]
    if not runs:
        message = (
            f"memory_formula: found no Experiments and no ExperimentSet in the {type(loss).__name__}. Give a loss that "
            "is an Equinox module and holds them, such as LeastSquares(experiments)."
        )
        raise TypeError(message)
    most = max(node.num_runs for node in runs)
    low, high = _measured_at(most)
    if low == high:
        return MemoryFormula(base=_bytes_of(loss, model), per_run=0, num_runs=most)
    least, more = (_bytes_of(_with_batch_size(loss, size), model) for size in (low, high))
    per_run = (more - least) / (high - low)
    return MemoryFormula(base=round(least - per_run * low), per_run=round(per_run), num_runs=most)


def _measured_at(num_runs: int) -> tuple[int, int]:
    """Two and four where there are enough runs for two batches of these.

    A batch of one is compiled to another program: the axis of the batch is simplified away. For 16 runs of a diffusion
    equation on 96² cells it needs 73 fields, batches of 2, 4, 8 and 16 need 69, 89, 133 and 224.
    """
    if num_runs == 1:
        return 1, 1
    high = min(4, max(2, -(-num_runs // 2)))
    return (high + 1) // 2, high


def memory_needed(loss: Callable[[Any], Scalar] | _Batched, model: PyTree) -> int:
    """What a value and gradient of a loss need in memory as it stands: bytes, of all devices together.

    XLA's plan of the compiled program: temporaries, arguments and results. Without a `batch_size` it holds what the
    backward pass of *every* run needs: runs one after another are not made again.

    **Arguments:**

    - `loss`: a loss as an Equinox module, or experiments as for [`krylovpde.inverse.memory_formula`][]; its numbers do
        not matter.
    - `model`: with the shapes of the model to be fitted.

    **Raises:** `RuntimeError` where the backend does not tell memory.
    """
    return _bytes_of(_as_loss(loss), model)


def batch_size_for(
    loss: Callable[[Any], Scalar] | _Batched,
    model: PyTree,
    *,
    memory: float | int,
    report: Callable[[str], Any] | None = None,
) -> int:
    """How many runs to have side by side, so that a value and gradient fit into memory.

        experiments = experiments.with_batch_size(batch_size_for(experiments, model, memory=8e9, report=print))

    **Arguments:**

    - `loss`, `model`: as for [`krylovpde.inverse.memory_formula`][].
    - `memory`: bytes.
    - `report`: called with one line, the formula and what follows from it; `print` is one.

    **Returns:** an integer, at least 1 and at most the number of runs.

    **Raises:** as `memory_formula`; `ValueError` where not even one run fits.
    """
    formula = memory_formula(loss, model)
    size = formula.batch_size(memory)
    if report is not None:
        report(f"{formula}: {size} side by side need {_readable(formula.bytes_for(size))} of {_readable(memory)}")
    return size


class _HalfSquares(eqx.Module):
    experiments: _Batched

    def __call__(self, model: Any) -> Scalar:
        parts = [0.5 * jnp.sum(jnp.abs(leaf) ** 2) for leaf in jtu.tree_leaves(self.experiments(model))]
        return sum(parts[1:], parts[0])


def _as_loss(loss: Any) -> Any:
    """Experiments count as half the sum of squares of their predictions."""
    return _HalfSquares(loss) if isinstance(loss, _Batched) else loss


def _is_batched(node: Any) -> bool:
    return isinstance(node, _Batched)


def _with_batch_size(loss: PyTree, batch_size: int) -> PyTree:
    return jtu.tree_map(
        lambda node: node.with_batch_size(batch_size) if _is_batched(node) else node, loss, is_leaf=_is_batched
    )


def _bytes_of(loss: PyTree, model: PyTree) -> int:
    """Of the compiled value and gradient."""
    arrays, static = eqx.partition((loss, model), eqx.is_array)

    def value_and_gradient(arrays: PyTree[Array]) -> tuple[Scalar, PyTree]:
        loss, model = eqx.combine(arrays, static)
        return eqx.filter_value_and_grad(lambda m: loss(m))(model)

    compiled = jax.jit(value_and_gradient).lower(arrays).compile()
    analysis = compiled.memory_analysis()
    if analysis is None:
        message = f"memory_formula: the backend {jax.default_backend()!r} does not tell what memory a program needs."
        raise RuntimeError(message)
    total = analysis.temp_size_in_bytes + analysis.argument_size_in_bytes + analysis.output_size_in_bytes
    # The plan is that of one device, and all have the same.
    devices = max(len(sharding.device_set) for sharding in jtu.tree_leaves(compiled.output_shardings))
    return devices * int(total - analysis.alias_size_in_bytes)


def _readable(count: float | int) -> str:
    for unit in ("B", "kB", "MB"):
        if abs(count) < 1000.0:
            return f"{count:.4g} {unit}"
        count = count / 1000.0
    return f"{count:.4g} GB"
