"""Other functions of large matrices, and the covariances that they are for."""

from ._covariance import RBFCovariance as RBFCovariance
from ._laplacian import LaplacianFunctions as LaplacianFunctions
from ._sqrt import sqrt_multiply as sqrt_multiply
