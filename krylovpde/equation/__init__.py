"""One equation per file: Equinox modules whose parameters are leaves."""

from ..operator import AbsorbedState as AbsorbedState, LayerMemory as LayerMemory, WaveState as WaveState
from ..signal import (
    AbstractSignal as AbstractSignal,
    AbstractSource as AbstractSource,
    Pieces as Pieces,
    Piecewise as Piecewise,
    Sampled as Sampled,
)
from ._absorbed_wave import AbsorbedWave as AbsorbedWave
from ._advection_diffusion import AdvectionDiffusion as AdvectionDiffusion, cell_peclet_number as cell_peclet_number
from ._assembled import Assembled as Assembled
from ._base import (
    AbstractEquation as AbstractEquation,
    AbstractFirstOrderForm as AbstractFirstOrderForm,
    driven_terms as driven_terms,
    rest_of as rest_of,
)
from ._checks import check_operator as check_operator
from ._diffusion import Diffusion as Diffusion
from ._linear import Linear as Linear
from ._nonlinear_diffusion import NonlinearDiffusion as NonlinearDiffusion
from ._reaction_diffusion import ReactionDiffusion as ReactionDiffusion
from ._schrodinger import Schrodinger as Schrodinger
from ._semilinear import Semilinear as Semilinear
from ._source import PointSource as PointSource, Source as Source
from ._wave import Wave as Wave
