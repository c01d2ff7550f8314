"""Unknowns and what is known about them: one parametrisation per file."""

from ._active_cells import ActiveCells as ActiveCells
from ._base import AbstractParameter as AbstractParameter, value_of as value_of
from ._basis import AbstractBasis as AbstractBasis, DenseBasis as DenseBasis, TensorBasis as TensorBasis
from ._bounded import Bounded as Bounded
from ._box import Box as Box, bounds_of as bounds_of
from ._fixed import Fixed as Fixed
from ._in_inner_product import InInnerProduct as InInnerProduct
from ._interpolated import Interpolated as Interpolated
from ._karhunen_loeve import KarhunenLoeve as KarhunenLoeve
from ._layers import Layers as Layers
from ._named import Named as Named, named_parameters as named_parameters, parameter_table as parameter_table
from ._network_field import NetworkField as NetworkField
from ._positive import Positive as Positive
from ._smoothed import Smoothed as Smoothed
from ._spline import Spline as Spline
from ._zones import Zones as Zones
