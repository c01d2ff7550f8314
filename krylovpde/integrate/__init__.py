"""From an operator or an equation to its solution."""

from ._expm_multiply import expm_multiply as expm_multiply, phi_multiply as phi_multiply
from ._pullback import Cotangents as Cotangents, pullback as pullback
from ._solve import solve as solve
