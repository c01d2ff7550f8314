"""Unknowns and what is known about them: one parametrisation per file."""

from ._base import AbstractParameter as AbstractParameter, value_of as value_of
from ._bounded import Bounded as Bounded
from ._box import Box as Box, bounds_of as bounds_of
from ._positive import Positive as Positive
from ._smoothed import Smoothed as Smoothed
