"""Named inverse problems: a truth, data made from it on a finer grid, a starting model."""

from ._field_problem import AbstractFieldModel as AbstractFieldModel, FieldProblem as FieldProblem
from .diffusivity import DiffusivityModel as DiffusivityModel, diffusivity as diffusivity
from .wave_speed import SpeedModel as SpeedModel, wave_speed as wave_speed
