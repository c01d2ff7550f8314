"""Named inverse problems: a truth, data made from it on a finer grid, a starting model."""

from ._field_problem import AbstractFieldModel as AbstractFieldModel, FieldProblem as FieldProblem
from .diffusivity import DiffusivityModel as DiffusivityModel, diffusivity_problem as diffusivity_problem
from .wave_speed import SpeedModel as SpeedModel, wave_speed_problem as wave_speed_problem
