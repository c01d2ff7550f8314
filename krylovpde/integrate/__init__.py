"""From an operator or an equation to its solution."""

from ._cuts import inside as inside
from ._entrance import choose as choose
from ._etdrk import ETDRK2 as ETDRK2, ETDRK4 as ETDRK4
from ._expm_multiply import expm_multiply as expm_multiply, phi_multiply as phi_multiply
from ._exponential_step import Linearised as Linearised, exponential_step as exponential_step
from ._integrator import LinearFlow as LinearFlow
from ._magnus import Magnus4 as Magnus4
from ._pullback import Cotangents as Cotangents, pullback as pullback
from ._rosenbrock import Rosenbrock as Rosenbrock, linearise as linearise
from ._solve import solve as solve
from ._steady_state import steady_state as steady_state
from ._strang import Strang as Strang
from ._tableau import (
    ETDRK2_TABLEAU as ETDRK2_TABLEAU,
    ETDRK4_TABLEAU as ETDRK4_TABLEAU,
    EXPONENTIAL_EULER_TABLEAU as EXPONENTIAL_EULER_TABLEAU,
    ROSENBROCK_TABLEAU as ROSENBROCK_TABLEAU,
    Tableau as Tableau,
)
