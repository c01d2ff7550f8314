"""Hypergradients: the derivative of a validation loss through the minimum of another loss. One method per file."""

from ._base import AbstractInverse as AbstractInverse, InverseProduct as InverseProduct
from ._columns import (
    AbstractColumns as AbstractColumns,
    GaussianSketch as GaussianSketch,
    LeverageColumns as LeverageColumns,
    NormColumns as NormColumns,
    UniformColumns as UniformColumns,
)
from ._conjugate_gradient import ConjugateGradient as ConjugateGradient
from ._curvature import (
    AbstractHessian as AbstractHessian,
    ExactHessian as ExactHessian,
    GaussNewtonHessian as GaussNewtonHessian,
)
from ._hypergradient import (
    HypergradientStats as HypergradientStats,
    hypergradient as hypergradient,
    low_rank_inverse as low_rank_inverse,
)
from ._low_rank import LowRankInverse as LowRankInverse
from ._neumann import Neumann as Neumann
from ._nystrom import Nystrom as Nystrom
