"""From an operator or an equation to its solution."""

from ._etdrk import ETDRK2 as ETDRK2, ETDRK4 as ETDRK4
from ._expm_multiply import expm_multiply as expm_multiply, phi_multiply as phi_multiply
from ._magnus import Magnus4 as Magnus4
from ._pullback import Cotangents as Cotangents, pullback as pullback
from ._rosenbrock import Rosenbrock as Rosenbrock
from ._solve import solve as solve
from ._strang import Strang as Strang
