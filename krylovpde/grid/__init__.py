"""Where unknowns live: uniform, graded and radial grids; boundary conditions; sensors."""

from .._parameter import (
    as_parameter as as_parameter,
    broadcasts_to as broadcasts_to,
    is_concrete as is_concrete,
    known_false as known_false,
)
from ._averages import Averages as Averages
from ._base import AbstractGrid as AbstractGrid, cell_volumes as cell_volumes
from ._boundary import (
    Absorbing as Absorbing,
    AbstractCondition as AbstractCondition,
    Boundary as Boundary,
    BoundaryLike as BoundaryLike,
    Dirichlet as Dirichlet,
    Neumann as Neumann,
    Periodic as Periodic,
    Robin as Robin,
    TotalFlux as TotalFlux,
    driven_walls as driven_walls,
    resolve_boundary as resolve_boundary,
    steady_condition as steady_condition,
)
from ._cartesian import Grid as Grid
from ._line_integrals import LineIntegrals as LineIntegrals
from ._mask import (
    contains as contains,
    inner_walls as inner_walls,
    only_active as only_active,
    open_faces as open_faces,
)
from ._one_of import OneOf as OneOf
from ._radial import RadialGrid as RadialGrid
from ._rows import AbstractRows as AbstractRows
from ._sensors import Sensors as Sensors
