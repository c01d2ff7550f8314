"""Every operator of the package by name: a new one enters all tests of `test_battery.py` here.

Each entry makes the operator from a dtype. Entries are small, and square unless the name says otherwise. What is in
`LITTLE_NEW` waits for the slow tests.
"""

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import scipy.sparse as sp

from krylovpde.grid import Boundary, Dirichlet, Grid, Neumann, Periodic, RadialGrid, Robin
from krylovpde.operator import (
    BlockOperator,
    Central,
    ChainOperator,
    Divergence,
    Gradient,
    Laplacian,
    PolynomialOperator,
    SparseOperator,
    Transport,
    TransposedOperator,
    Upwind,
    ZeroOperator,
    annotate,
    flux_operator,
    self_adjoint_tag,
)

UNIFORM = Grid((5, 4), (0.0, 0.0), (1.0, 2.0))
GRADED = Grid.from_edges([[0.0, 0.1, 0.25, 0.5, 0.6], [0.0, 0.5, 0.8, 1.6]])
LINE = Grid(7, 0.0, 1.0)
CUBE = Grid((3, 2, 4), (0, 0, 0), (1, 1, 1))
CYLINDER = RadialGrid(np.linspace(0.0, 1.0, 7))
HOLLOW = Grid((5, 4), (0.0, 0.0), (1.0, 2.0), active=np.arange(20).reshape(5, 4) % 7 != 2)
SPHERE = RadialGrid(np.geomspace(0.1, 2.0, 7), dimension=3)
MIXED = Boundary(lower=(Dirichlet(), Neumann()), upper=(Neumann(), Robin(1.0, 0.5)))


def _positive(grid, seed, dtype):
    return jnp.asarray(0.5 + np.random.default_rng(seed).random(grid.shape), dtype)


def _conditions(pairs):
    return tuple((pair, pair) if not isinstance(pair, tuple) else pair for pair in pairs)


def _diffusion(grid, conditions, dtype, **keywords):
    kappa = tuple(_positive(grid, axis, dtype) for axis in range(grid.ndim))
    return flux_operator(grid, kappa, _conditions(conditions), **keywords)


def _transport(grid, scheme, conditions, dtype):
    rng = np.random.default_rng(7)
    velocity = tuple(jnp.asarray(3 * rng.normal(size=grid.shape), dtype) for _ in range(grid.ndim))
    return _diffusion(grid, conditions, dtype, transport=Transport(velocity, scheme))


def _sparse(shape, seed, dtype, tags=(), symmetric=False):
    matrix = sp.random(*shape, 0.4, random_state=seed, dtype=np.float64)
    matrix = (matrix + matrix.T) if symmetric else matrix
    return SparseOperator.from_scipy(matrix.astype(np.dtype(dtype)), tags=tags)


def _long_rows(dtype):
    matrix = sp.lil_matrix((30, 30))
    matrix[0, :] = np.arange(1.0, 31.0)
    matrix[:, 3] = -1.0
    matrix.setdiag(2.0)
    return SparseOperator.from_scipy(matrix.astype(np.dtype(dtype)))


def _annotated(dtype):
    inner = Laplacian(UNIFORM, dtype=dtype)
    function = lx.FunctionLinearOperator(inner.mv, inner.in_structure())
    return annotate(function, tags=self_adjoint_tag, weight=UNIFORM.cell_volumes, spectral_bound=inner.spectral_bound)


def _block(dtype):
    first = Laplacian(LINE, Dirichlet(), dtype=dtype)
    structure = jax.ShapeDtypeStruct((7,), dtype)
    return BlockOperator(((first, None), (lx.IdentityLinearOperator(structure), -2.0 * first)))


def _chain(dtype):
    sources = jnp.asarray(np.random.default_rng(3).normal(size=(3, *GRADED.shape)), dtype)
    return ChainOperator(Laplacian(GRADED, MIXED, dtype=dtype), sources, jnp.asarray(1.5, dtype))


SQUARE = {
    "laplacian neumann": lambda dtype: Laplacian(UNIFORM, dtype=dtype),
    "laplacian mixed": lambda dtype: Laplacian(UNIFORM, MIXED, dtype=dtype),
    "laplacian periodic": lambda dtype: Laplacian(UNIFORM, (Periodic(), Dirichlet()), dtype=dtype),
    "laplacian line": lambda dtype: Laplacian(LINE, Dirichlet(), dtype=dtype),
    "laplacian graded": lambda dtype: Laplacian(GRADED, MIXED, dtype=dtype),
    "laplacian graded periodic": lambda dtype: Laplacian(GRADED, Periodic(), dtype=dtype),
    "laplacian cube": lambda dtype: Laplacian(CUBE, (Periodic(), Dirichlet(), Neumann()), dtype=dtype),
    "laplacian cylinder": lambda dtype: Laplacian(CYLINDER, Dirichlet(), dtype=dtype),
    "laplacian sphere": lambda dtype: Laplacian(SPHERE, Boundary(lower=Dirichlet()), dtype=dtype),
    "diffusion scaled": lambda dtype: _diffusion(
        UNIFORM,
        (Dirichlet(), Neumann()),
        dtype,
        scale=_positive(UNIFORM, 5, dtype),
        reaction=-_positive(UNIFORM, 6, dtype),
    ),
    "diffusion graded scaled": lambda dtype: _diffusion(
        GRADED, (Neumann(), Dirichlet()), dtype, scale=_positive(GRADED, 5, dtype)
    ),
    "diffusion transposed": lambda dtype: _diffusion(
        GRADED, (Neumann(), Periodic()), dtype, scale=_positive(GRADED, 5, dtype)
    ).transpose(),
    "fourth order": lambda dtype: _diffusion(
        UNIFORM, (Dirichlet(), Neumann()), dtype, scale=_positive(UNIFORM, 5, dtype), bending=(np.ones(5), np.ones(4))
    ),
    "fourth order mixed": lambda dtype: _diffusion(
        CUBE,
        ((Dirichlet(), Neumann()), Periodic(), Neumann()),
        dtype,
        bending=(np.asarray([0.2, 0.7, 1.0]), np.ones(2), np.ones(4)),
    ),
    "fourth order geometry": lambda dtype: flux_operator(
        LINE, (np.ones((), dtype),), ((Dirichlet(), Neumann()),), bending=(np.ones(7),)
    ),
    "central": lambda dtype: _transport(UNIFORM, Central(), (Dirichlet(), Neumann()), dtype),
    "central graded": lambda dtype: _transport(GRADED, Central(), (Dirichlet(), Periodic()), dtype),
    "upwind 1": lambda dtype: _transport(UNIFORM, Upwind(1), (Dirichlet(), Neumann()), dtype),
    "upwind 3": lambda dtype: _transport(UNIFORM, Upwind(3), (Dirichlet(), Neumann()), dtype),
    "upwind 3 periodic": lambda dtype: _transport(GRADED, Upwind(3), (Periodic(), Periodic()), dtype),
    "upwind 3 radial": lambda dtype: _transport(SPHERE, Upwind(3), (Neumann(),), dtype),
    "upwind 3 masked": lambda dtype: _transport(
        HOLLOW, Upwind(3), ((Periodic(), Periodic(), Dirichlet()), (Neumann(), Neumann(), Dirichlet())), dtype
    ),
    "laplacian masked": lambda dtype: Laplacian(HOLLOW, Boundary(inner=Dirichlet()), dtype=dtype),
    "sparse": lambda dtype: _sparse((6, 6), 0, dtype),
    "sparse self-adjoint": lambda dtype: _sparse((6, 6), 0, dtype, self_adjoint_tag, symmetric=True),
    "sparse long rows": _long_rows,
    "annotated function": _annotated,
    "annotated": lambda dtype: annotate(Laplacian(GRADED, MIXED, dtype=dtype), spectral_bound=1e3),
    "transposed": lambda dtype: TransposedOperator(_diffusion(UNIFORM, (Dirichlet(), Neumann()), dtype)),
    "block": _block,
    "chain": _chain,
    "chain transposed": lambda dtype: _chain(dtype).transpose(),
    "sum": lambda dtype: Laplacian(UNIFORM, dtype=dtype) + lx.DiagonalLinearOperator(-_positive(UNIFORM, 9, dtype)),
    "scaled sum": lambda dtype: 0.5 * (Laplacian(UNIFORM, dtype=dtype) + Laplacian(UNIFORM, MIXED, dtype=dtype)),
    "polynomial": lambda dtype: PolynomialOperator(
        _diffusion(GRADED, (Neumann(), Dirichlet()), dtype, scale=_positive(GRADED, 5, dtype)),
        jnp.asarray([0.3, -1.0, -0.2], dtype),
    ),
    "zero": lambda dtype: ZeroOperator(jax.ShapeDtypeStruct(GRADED.shape, dtype), GRADED.cell_volumes.astype(dtype)),
}

RECTANGULAR = {
    "sparse rectangular": lambda dtype: _sparse((4, 7), 2, dtype),
    "gradient": lambda dtype: Gradient(GRADED, dtype=dtype),
    "gradient periodic": lambda dtype: Gradient(GRADED, Periodic(), dtype=dtype),
    "gradient masked": lambda dtype: Gradient(HOLLOW, dtype=dtype),
    "divergence masked": lambda dtype: Divergence(HOLLOW, dtype=dtype),
    "divergence": lambda dtype: Divergence(GRADED, dtype=dtype),
    "divergence radial": lambda dtype: Divergence(SPHERE, dtype=dtype),
    "block rectangular": lambda dtype: BlockOperator(((_sparse((4, 7), 2, dtype), _sparse((4, 3), 3, dtype)),)),
}

OPERATORS = SQUARE | RECTANGULAR

# Each differs little from another of its class: other walls, another uniform grid, fewer coefficients.
LITTLE_NEW = [
    "laplacian neumann",
    "laplacian mixed",
    "laplacian periodic",
    "laplacian line",
    "laplacian graded periodic",
    "laplacian cube",
    "laplacian cylinder",
    "diffusion scaled",
    "diffusion transposed",
    "fourth order",
    "fourth order geometry",
    "central",
    "upwind 1",
    "upwind 3",
    "upwind 3 periodic",
    "sparse self-adjoint",
    "transposed",
    "chain transposed",
    "scaled sum",
    "sparse rectangular",
    "gradient periodic",
]
