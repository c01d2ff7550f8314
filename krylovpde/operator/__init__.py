"""Linear operators on a grid: stencils, sparse, block; weights, tags, spectral bounds."""

from . import _lineax as _lineax
from ._absorbed_wave import AbsorbedWaveOperator as AbsorbedWaveOperator
from ._annotate import AnnotatedOperator as AnnotatedOperator, annotate as annotate
from ._assemble import (
    Laplacian as Laplacian,
    Transport as Transport,
    conductance as conductance,
    flux_operator as flux_operator,
    wall_source as wall_source,
)
from ._assembled import AssembledOperator as AssembledOperator, divide as divide
from ._base import (
    AbstractOperator as AbstractOperator,
    TransposedOperator as TransposedOperator,
    is_real_structure as is_real_structure,
)
from ._block import BlockOperator as BlockOperator
from ._chain import ChainOperator as ChainOperator
from ._combination import affine_combination as affine_combination
from ._ellipse import Ellipse as Ellipse, Rectangle as Rectangle
from ._flux import (
    FluxOperator as FluxOperator,
    row_sums as row_sums,
    second_order_part as second_order_part,
    stencil as stencil,
)
from ._gradient import Divergence as Divergence, Gradient as Gradient, face_volumes as face_volumes
from ._imaginary import (
    ImaginaryOperator as ImaginaryOperator,
    imaginary_interval as imaginary_interval,
    times_i as times_i,
)
from ._kernel import FaceCoefficients as FaceCoefficients, following as following, pad as pad
from ._layer import Layer as Layer, make_layer as make_layer
from ._numerical_range import numerical_range as numerical_range
from ._parameter_vjp import parameter_vjp as parameter_vjp, pull_parameters as pull_parameters
from ._polynomial import PolynomialOperator as PolynomialOperator
from ._precision import (
    add_in_precision as add_in_precision,
    cast as cast,
    cast_tree as cast_tree,
    common_precision as common_precision,
)
from ._properties import (
    is_self_adjoint as is_self_adjoint,
    is_skew_adjoint as is_skew_adjoint,
    spectral_bound as spectral_bound,
    weight as weight,
)
from ._scheme import AbstractScheme as AbstractScheme, Central as Central, Upwind as Upwind
from ._sparse import SparseOperator as SparseOperator
from ._spectral_interval import spectral_interval as spectral_interval
from ._tags import self_adjoint_tag as self_adjoint_tag, skew_adjoint_tag as skew_adjoint_tag
from ._walls import Wall as Wall, face_value as face_value, wall as wall
from ._wave_state import AbsorbedState as AbsorbedState, LayerMemory as LayerMemory, WaveState as WaveState
from ._zero import ZeroOperator as ZeroOperator
