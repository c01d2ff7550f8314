"""The operators and vectors of the sweep, as NumPy matrices: everything that has broken an exponential integrator."""

import jax.numpy as jnp
import lineax as lx
import numpy as np

import krylovpde as kp

SIZE = 24
_RNG = np.random.default_rng(20240527)
_MIXED = _RNG.standard_normal((SIZE, SIZE)) + 1j * _RNG.standard_normal((SIZE, SIZE))
_SHIFT = np.diag(np.ones(SIZE - 1), 1)
_LAPLACIAN = -2.0 * np.eye(SIZE) + _SHIFT + _SHIFT.T
_X = (np.arange(SIZE) + 0.5) / SIZE


def _graded_edges():
    return np.concatenate([[0.0], np.cumsum(1.15 ** np.arange(SIZE))])


def _dense(operator):
    return np.asarray(operator.as_matrix())


def _diffusion(grid):
    contrast = np.where(np.abs(_X - 0.5) < 0.2, 5.0, 1.0)
    return kp.Diffusion(grid, jnp.asarray(contrast), boundary=kp.Dirichlet()).operator()


def _normed(matrix, size):
    return matrix * (size / np.max(np.abs(np.linalg.eigvals(matrix))))


_GRADED = _diffusion(kp.Grid.from_edges([_graded_edges()]))
_RADIAL = _diffusion(kp.RadialGrid(_graded_edges(), dimension=2))

# name -> (class of structure, matrix, weight or None); the class decides the tags, so each is compiled once.
OPERATORS = {
    "diffusion": ("self-adjoint", _normed(_LAPLACIAN, 40.0), None),
    "stiff diffusion": ("self-adjoint", _normed(_LAPLACIAN, 4000.0), None),
    "indefinite": ("self-adjoint", _normed(_MIXED.real + _MIXED.real.T, 12.0), None),
    "hidden growth": ("self-adjoint", _normed(_LAPLACIAN, 4.0) + np.diag(20.0 * (_X > 0.75)), None),
    "graded": ("weighted", _normed(_dense(_GRADED), 300.0), np.asarray(kp.weight(_GRADED))),
    "radial": ("weighted", _normed(_dense(_RADIAL), 300.0), np.asarray(kp.weight(_RADIAL))),
    "hermitian": ("hermitian", _normed(_MIXED + _MIXED.conj().T, 12.0), None),
    "skew": ("skew", _normed(_MIXED.real - _MIXED.real.T, 30.0), None),
    "transport": ("skew", _normed(_SHIFT - _SHIFT.T, 60.0), None),
    "schrodinger": ("skew hermitian", 1j * _normed(_LAPLACIAN, 60.0), None),
    "random": ("general", 2.0 * _MIXED.real, None),
    "advection": ("general", 40.0 * (_SHIFT.T - np.eye(SIZE)) + 0.5 * _LAPLACIAN, None),
    "central advection": ("general", 30.0 * (_SHIFT.T - _SHIFT) + 0.5 * _LAPLACIAN, None),
    "jordan": ("general", -np.eye(SIZE) + _SHIFT, None),
    "large jordan": ("general", -np.eye(SIZE) + 30.0 * _SHIFT, None),
    "nilpotent": ("general", 30.0 * _SHIFT, None),
    "upper triangular": ("general", np.triu(5.0 * _MIXED.real, 1) - np.diag(np.linspace(1.0, 60.0, SIZE)), None),
    "untagged oscillator": ("general", _normed(_SHIFT - _SHIFT.T, 60.0), None),
    "complex": ("general complex", 2.0 * _MIXED - 10.0 * np.eye(SIZE), None),
}

VECTORS = {
    "random": _RNG.standard_normal(SIZE),
    "smooth": np.exp(-(((_X - 0.35) / 0.1) ** 2)),
    "first point": np.eye(SIZE)[0],
    "last point": np.eye(SIZE)[-1],
    "middle point": np.eye(SIZE)[SIZE // 2],
    "plane wave": np.cos(np.pi * 7 * _X),
    "highest wave": (-1.0) ** np.arange(SIZE),
    "constant": np.ones(SIZE),
}

TIMES = np.array([0.02, 0.3, 0.3, 1.0, -0.05])


def as_operator(structure, matrix, weight, dtype=np.float64):
    """The matrix as a lineax operator with the tags of its class."""
    complex_dtype = np.result_type(dtype, np.complex64)
    matrix = jnp.asarray(matrix, complex_dtype if np.iscomplexobj(matrix) else dtype)
    operator = lx.MatrixLinearOperator(matrix)
    if structure in ("self-adjoint", "hermitian"):
        return kp.annotate(operator, tags=kp.self_adjoint_tag)
    if structure == "weighted":
        return kp.annotate(operator, tags=kp.self_adjoint_tag, weight=jnp.asarray(weight, dtype))
    if structure.startswith("skew"):
        return kp.annotate(operator, tags=kp.skew_adjoint_tag)
    return operator


def norm(vector, weight):
    """In the operator's inner product."""
    return float(np.sqrt(np.sum(np.abs(vector) ** 2 * (1.0 if weight is None else weight))))
