"""Figures of fields, data, residuals and convergence. Each function draws into given axes; `figure` makes them."""

from ._convergence import convergence as convergence
from ._data_fit import data_fit as data_fit, scatter_fit as scatter_fit
from ._field import compare as compare, field as field
from ._l_curve import l_curve as l_curve, weight_criterion as weight_criterion
from ._record_section import record_section as record_section
from ._residuals import (
    residual_histogram as residual_histogram,
    residual_map as residual_map,
    residuals as residuals,
)
from ._snapshots import animate as animate, snapshots as snapshots
from ._style import COLOURS as COLOURS, figure as figure
from ._triptych import triptych as triptych
