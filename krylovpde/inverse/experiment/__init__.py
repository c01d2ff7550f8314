"""Experiments: what is done to a system and what is measured."""

from ._experiment import Experiment as Experiment, equation_of as equation_of, grid_of as grid_of
from ._experiment_set import ExperimentSet as ExperimentSet
from ._experiments import Experiments as Experiments
from ._memory import (
    MemoryFormula as MemoryFormula,
    batch_size_for as batch_size_for,
    memory_formula as memory_formula,
    memory_needed as memory_needed,
)
