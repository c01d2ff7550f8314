"""Experiments: what is done to a system and what is measured."""

from ._experiment import Experiment as Experiment, equation_of as equation_of
from ._experiments import Experiments as Experiments
