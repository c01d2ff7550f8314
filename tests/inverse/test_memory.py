"""The memory of a batch is what the formula says."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import krylovpde as kp
from krylovpde.inverse import (
    Experiment,
    Experiments,
    ExperimentSet,
    LeastSquares,
    MemoryFormula,
    batch_size_for,
    memory_formula,
    memory_needed,
)
from krylovpde.inverse.experiment._memory import _bytes_of, _HalfSquares


class Medium(eqx.Module):
    """One diffusivity per cell."""

    diffusivity: jax.Array
    grid: kp.Grid

    def equation(self):
        return kp.Diffusion(self.grid, self.diffusivity)


def _problem(grid, runs, **options):
    states = jnp.asarray(np.random.default_rng(0).random((runs, *grid.shape)))
    sensors = kp.Sensors(grid, np.full((3, grid.ndim), 0.4))
    experiments = Experiments(Experiment(states, [0.01, 0.02], sensors, options=options))
    return experiments, Medium(jnp.ones(grid.shape), grid)


def _deviation(experiments, model, batch_size):
    loss = LeastSquares(experiments, jnp.zeros((experiments.num_runs, 2, 3)), 1.0)
    formula = memory_formula(loss, model)
    needed = _bytes_of(eqx.tree_at(lambda x: x.predict, loss, experiments.with_batch_size(batch_size)), model)
    return formula.bytes_for(batch_size) / needed - 1.0


def test_the_prediction_holds_for_larger_batches():
    grid, times = kp.Grid((40,), (0.0,), (1.0,)), np.linspace(0.01, 0.1, 200)
    states = jnp.asarray(np.random.default_rng(0).random((16, 40)))
    experiments = Experiments(Experiment(states, times, options={"method": kp.Dense()}))
    model = Medium(jnp.ones(40), grid)
    formula = memory_formula(experiments, model)
    needed = _bytes_of(_HalfSquares(experiments.with_batch_size(8)), model)
    assert abs(formula.bytes_for(8) / needed - 1.0) < 0.2
    assert formula.per_run > 200 * 40 * 8  # a state for each time at least
    assert str(formula).startswith("memory = ")


def test_without_a_batch_size_every_run_is_kept():
    grid = kp.Grid((16,), (0.0,), (1.0,))
    few, many = (memory_needed(*_problem(grid, runs, method=kp.Lanczos(8), throw=False)) for runs in (4, 64))
    basis = 8 * 16 * 8  # bytes
    assert many - few > 60 * basis


@pytest.mark.slow
def test_the_prediction_holds_on_a_grid_of_two_dimensions():
    experiments, model = _problem(kp.Grid((96, 96), (0.0, 0.0), (1.0, 1.0)), 16)
    assert abs(_deviation(experiments, model, 8)) < 0.2


@pytest.mark.slow
def test_a_budget_gives_a_batch_size():
    experiments, model = _problem(kp.Grid((12,), (0.0,), (1.0,)), 4, method=kp.Dense())
    lines = []
    assert batch_size_for(experiments, model, memory=1e12, report=lines.append) == 4
    assert "side by side need" in lines[0]
    together = ExperimentSet([experiments[0]])
    assert memory_formula(together, model).batch_size(1e9) == 1


def test_the_formula_is_inverted():
    formula = MemoryFormula(base=1000, per_run=100, num_runs=12)
    assert [formula.batch_size(memory) for memory in (1100, 1499, 1500, 1e6)] == [1, 4, 5, 12]
    assert str(formula) == "memory = 1 kB + 100 B x batch_size (12 runs)"
    with pytest.raises(ValueError, match=r"Not even one run at a time fits into 1\.05 kB: memory = 1 kB"):
        formula.batch_size(1050)


@pytest.mark.bad_input
def test_a_function_has_no_experiments_to_be_found():
    with pytest.raises(TypeError, match="found no Experiments"):
        memory_formula(lambda model: model, 1.0)
