"""Every equation by name: a new one enters all tests of `test_battery.py` here.

Each entry makes the equation from a dtype (of all its parameters). What is in `LITTLE_NEW` waits for the slow tests.
"""

import jax.numpy as jnp
import lineax as lx
import numpy as np
import scipy.sparse as sp

from krylovpde.equation import AdvectionDiffusion, Diffusion, Linear, Schrodinger, Wave
from krylovpde.grid import Absorbing, Boundary, Dirichlet, Grid, Neumann, Periodic, RadialGrid, Robin, TotalFlux
from krylovpde.operator import Central, SparseOperator, Upwind

UNIFORM = Grid((5, 4), (0.0, 0.0), (1.0, 2.0))
GRADED = Grid.from_edges([[0.0, 0.1, 0.25, 0.5, 0.6], [0.0, 0.5, 0.8, 1.6]])
HOLLOW = Grid((5, 4), (0.0, 0.0), (1.0, 2.0), active=np.arange(20).reshape(5, 4) % 7 != 2)
RADIAL = RadialGrid(np.geomspace(0.1, 2.0, 7))
MIXED = Boundary(lower=(Dirichlet(2.0), Robin(1.0, 0.5, 3.0)), upper=(Neumann(0.7), Neumann()))


def _field(grid, seed, dtype):
    return jnp.asarray(0.5 + np.random.default_rng(seed).random(grid.shape), dtype)


def _faces(dtype):
    ones = np.linspace(1.0, 2.0, 3)
    return Boundary(lower=(Dirichlet(jnp.asarray(ones, dtype)), Neumann()), upper=(TotalFlux(0.3), Dirichlet()))


EQUATIONS = {
    "diffusion number": lambda dtype: Diffusion(UNIFORM, 0.7, source=_field(UNIFORM, 3, dtype)),
    "diffusion field": lambda dtype: Diffusion(UNIFORM, _field(UNIFORM, 0, dtype), boundary=MIXED),
    "diffusion tensor": lambda dtype: Diffusion(
        GRADED,
        (_field(GRADED, 0, dtype), 0.2),
        boundary=_faces(dtype),
        capacity=_field(GRADED, 1, dtype),
        reaction_rate=-_field(GRADED, 2, dtype),
        source=1.5,
    ),
    "diffusion periodic": lambda dtype: Diffusion(UNIFORM, _field(UNIFORM, 0, dtype), boundary=Periodic()),
    "diffusion masked": lambda dtype: Diffusion(
        HOLLOW,
        jnp.where(HOLLOW.active, _field(HOLLOW, 0, dtype), jnp.nan),
        boundary=Boundary(lower=Dirichlet(1.0), inner=Robin(1.0, 0.5, _field(HOLLOW, 1, dtype))),
        capacity=jnp.where(HOLLOW.active, _field(HOLLOW, 2, dtype), 0.0),
        source=2.0,
    ),
    "diffusion radial": lambda dtype: Diffusion(
        RADIAL, _field(RADIAL, 0, dtype), boundary=Boundary(lower=Neumann(-1.0), upper=Dirichlet()), capacity=3.0
    ),
    "advection central": lambda dtype: AdvectionDiffusion(
        UNIFORM, 2.0, (_field(UNIFORM, 0, dtype), -1.0), scheme=Central(), boundary=MIXED
    ),
    "advection upwind": lambda dtype: AdvectionDiffusion(
        GRADED,
        _field(GRADED, 1, dtype),
        (_field(GRADED, 0, dtype), -3.0),
        scheme=Upwind(3),
        boundary=_faces(dtype),
        capacity=_field(GRADED, 2, dtype),
        reaction_rate=-0.3,
    ),
    "wave": lambda dtype: Wave(UNIFORM, _field(UNIFORM, 0, dtype), source=_field(UNIFORM, 1, dtype)),
    "wave density": lambda dtype: Wave(
        GRADED, _field(GRADED, 0, dtype), density=_field(GRADED, 1, dtype), boundary=(Dirichlet(2.0), Neumann())
    ),
    "wave boundary": lambda dtype: Wave(GRADED, jnp.asarray(1.5, dtype), boundary=(Dirichlet(2.0), Periodic())),
    "wave absorbing": lambda dtype: Wave(
        GRADED,
        _field(GRADED, 0, dtype),
        density=_field(GRADED, 1, dtype),
        damping=_field(GRADED, 2, dtype),
        source=_field(GRADED, 3, dtype),
        boundary=Boundary(lower=(Absorbing(1), Neumann()), upper=(Absorbing(2), Dirichlet(2.0))),
    ),
    "wave fourth order": lambda dtype: Wave(
        UNIFORM,
        _field(UNIFORM, 0, dtype),
        density=_field(UNIFORM, 1, dtype),
        source=_field(UNIFORM, 2, dtype),
        boundary=(Dirichlet(), Neumann()),
        accuracy=4,
    ),
    "wave fourth order absorbing": lambda dtype: Wave(
        UNIFORM,
        _field(UNIFORM, 0, dtype),
        boundary=Boundary(lower=(Dirichlet(), Absorbing(1)), upper=(Absorbing(2), Neumann())),
        accuracy=4,
    ),
    "schrodinger": lambda dtype: Schrodinger(
        GRADED, _field(GRADED, 0, dtype), boundary=(Robin(1.0, 0.5, 2.0), Dirichlet(1.0))
    ),
    "linear sparse": lambda dtype: Linear(
        SparseOperator.from_scipy(sp.random(6, 6, 0.5, random_state=0).astype(np.dtype(dtype))), source=2.0
    ),
    "linear matrix": lambda dtype: Linear(lx.MatrixLinearOperator(jnp.asarray(np.eye(3) * -2.0, dtype))),
}

# Each differs little from another of its class, which has its coefficients, walls or order, too. The radial grid is one
# among the operators.
LITTLE_NEW = [
    "diffusion number",
    "diffusion field",
    "diffusion periodic",
    "diffusion radial",
    "advection central",
    "wave",
    "wave density",
    "wave boundary",
    "wave fourth order",
    "linear matrix",
]
