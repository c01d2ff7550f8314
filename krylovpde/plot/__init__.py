"""Figures of fields, data and convergence. Each function draws into given axes."""

from ._convergence import convergence as convergence
from ._field import compare as compare, field as field
from ._record_section import record_section as record_section
from ._style import COLOURS as COLOURS, figure as figure
