"""Other functions of large matrices, and the covariances that they are for."""

from ._covariance import RBFCovariance as RBFCovariance
from ._eigenpairs import Eigenpairs as Eigenpairs, eigenpairs as eigenpairs
from ._inverse import inverse_multiply as inverse_multiply
from ._laplacian import LaplacianFunctions as LaplacianFunctions
from ._log import log_multiply as log_multiply
from ._matern_covariance import MaternCovariance as MaternCovariance
from ._scalar import (
    AbstractScalarFunction as AbstractScalarFunction,
    Exponential as Exponential,
    Inverse as Inverse,
    InverseSquareRoot as InverseSquareRoot,
    Logarithm as Logarithm,
    SquareRoot as SquareRoot,
)
from ._sqrt import inverse_sqrt_multiply as inverse_sqrt_multiply, sqrt_multiply as sqrt_multiply
from ._toeplitz import ToeplitzOperator as ToeplitzOperator
from ._trace import TraceEstimate as TraceEstimate, log_determinant as log_determinant, trace as trace
