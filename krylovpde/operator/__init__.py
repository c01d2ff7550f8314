"""Linear operators on a grid: stencils, sparse, block; weights, tags, spectral bounds."""

from . import _lineax as _lineax
from ._annotate import AnnotatedOperator as AnnotatedOperator, annotate as annotate
from ._base import AbstractOperator as AbstractOperator, TransposedOperator as TransposedOperator
from ._properties import (
    is_self_adjoint as is_self_adjoint,
    is_skew_adjoint as is_skew_adjoint,
    spectral_bound as spectral_bound,
    weight as weight,
)
from ._tags import self_adjoint_tag as self_adjoint_tag, skew_adjoint_tag as skew_adjoint_tag
