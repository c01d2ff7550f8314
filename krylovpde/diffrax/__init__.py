"""Exponential integrators as Diffrax solvers: `import krylovpde.diffrax`."""

from ._solvers import (
    ETDRK2 as ETDRK2,
    ETDRK4 as ETDRK4,
    ExponentialEuler as ExponentialEuler,
    ExponentialRosenbrock as ExponentialRosenbrock,
)
from ._term import LinearTerm as LinearTerm, split as split
