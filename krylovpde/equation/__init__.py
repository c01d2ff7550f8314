"""One equation per file: Equinox modules whose parameters are leaves."""

from ._advection_diffusion import AdvectionDiffusion as AdvectionDiffusion, cell_peclet_number as cell_peclet_number
from ._assembled import Assembled as Assembled
from ._base import AbstractEquation as AbstractEquation, driven_terms as driven_terms, rest_of as rest_of
from ._checks import check_operator as check_operator
from ._diffusion import Diffusion as Diffusion
from ._linear import Linear as Linear
from ._reaction_diffusion import ReactionDiffusion as ReactionDiffusion
from ._schrodinger import Schrodinger as Schrodinger
from ._semilinear import Semilinear as Semilinear
from ._signal import (
    AbstractSignal as AbstractSignal,
    Pieces as Pieces,
    Sampled as Sampled,
)
from ._source import (
    AbstractSource as AbstractSource,
    PointSource as PointSource,
    Source as Source,
)
from ._wave import Wave as Wave, WaveState as WaveState
