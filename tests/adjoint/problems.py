"""Operators with a parameter that they close over, as a user would write them, and what to measure of them."""

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np

import krylovpde as kp

SIZE = 12
TIMES = jnp.asarray([0.2, -0.05])
_RNG = np.random.default_rng(11)
_BASE = _RNG.standard_normal((SIZE, SIZE))
_TWIN = _RNG.standard_normal((SIZE, SIZE))
WEIGHT = jnp.asarray(np.linspace(0.3, 3.0, SIZE))


def _times(matrix, x):
    return jnp.matmul(matrix.astype(x.dtype), x, precision="highest")


def _function(apply, dtype):
    return lx.FunctionLinearOperator(apply, jax.ShapeDtypeStruct((SIZE,), dtype))


def self_adjoint(p):
    """Diffusion with coefficients on faces, and a potential, so that it is indefinite."""

    def apply(x):
        flux = p[1:].astype(x.dtype) * jnp.diff(x)
        return 20.0 * jnp.diff(jnp.pad(flux, 1)) + 5.0 * p.astype(x.dtype) * x

    return kp.annotate(_function(apply, p.dtype), tags=kp.self_adjoint_tag)


def weighted(p):
    """The same, self-adjoint only in a weight that depends on the parameter, too."""
    mass = WEIGHT.astype(p.dtype) * p

    def apply(x):
        flux = p[1:] * jnp.diff(x)
        return 20.0 * jnp.diff(jnp.pad(flux, 1)) / mass

    return kp.annotate(_function(apply, p.dtype), tags=kp.self_adjoint_tag, weight=mass)


def hermitian(p):
    """A complex Hermitian matrix, scaled from both sides."""
    matrix = jnp.asarray(_BASE + _BASE.T + 1j * (_TWIN - _TWIN.T))
    apply = lambda x: p.astype(x.dtype) * _times(matrix, p.astype(x.dtype) * x)  # noqa: E731
    return kp.annotate(_function(apply, jnp.complex128), tags=kp.self_adjoint_tag)


def skew(p):
    """A real skew-symmetric matrix."""
    matrix = jnp.asarray(4.0 * (_BASE - _BASE.T))
    return kp.annotate(_function(lambda x: p * _times(matrix, p * x), p.dtype), tags=kp.skew_adjoint_tag)


def skew_hermitian(p):
    """Schrödinger's operator."""

    def apply(x):
        lap = 20.0 * jnp.diff(jnp.pad(jnp.diff(x), 1))
        return 1j * (0.5 * lap - 8.0 * p.astype(x.dtype) * x)

    return kp.annotate(_function(apply, jnp.complex128), tags=kp.skew_adjoint_tag)


def general(p):
    """Advection and diffusion with coefficients that vary: nothing is symmetric."""

    def apply(x):
        flux = p[1:] * jnp.diff(x)
        return 10.0 * jnp.diff(jnp.pad(flux, 1)) - 15.0 * jnp.diff(jnp.pad(p * x, (1, 0)))

    return _function(apply, p.dtype)


def general_complex(p):
    """A full complex matrix."""
    matrix = jnp.asarray(_BASE + 1j * _TWIN)
    return _function(lambda x: p.astype(x.dtype) * _times(matrix, x) - 3.0 * x, jnp.complex128)


def carried(p):
    """Advection and diffusion on a grid: a stencil with transport, which knows its numerical range."""
    grid = kp.Grid(shape=(SIZE,), lower=(0.0,), upper=(float(SIZE),))
    return kp.AdvectionDiffusion(grid, 8.0 * p, (6.0 * p**2,), reaction_rate=p).operator()


OPERATORS = {
    "self-adjoint": self_adjoint,
    "weighted": weighted,
    "hermitian": hermitian,
    "skew": skew,
    "skew hermitian": skew_hermitian,
    "general": general,
    "carried": carried,
    "general complex": general_complex,
}


def point(name):
    """Parameter, vector, durations: rough."""
    rng = np.random.default_rng(12)
    vector = rng.standard_normal(SIZE)
    if name in ("hermitian", "skew hermitian", "general complex"):
        vector = vector + 1j * rng.standard_normal(SIZE)
    return jnp.asarray(rng.uniform(0.5, 1.5, SIZE)), jnp.asarray(vector), TIMES


def cotangent(vector):
    """Rough, for both durations."""
    rng = np.random.default_rng(13)
    value = rng.standard_normal((2, SIZE))
    if jnp.iscomplexobj(vector):
        value = value + 1j * rng.standard_normal((2, SIZE))
    return jnp.asarray(value)


def objective(name, **options):
    """`J(p, v, t) = Re <g, exp(t_i A(p)) v>`."""

    def function(arguments):
        p, v, t = arguments
        value = kp.expm_multiply(OPERATORS[name](p), v, t, **options).value
        return jnp.real(jnp.sum(cotangent(v) * value))

    return function


# ---- smooth data: the case in which discrete adjoints fail (NUMERICS 3)

HEAT_SIZE, HEAT_TIME = 127, 0.001


def heat_operator(faces):
    """`(k u')'` on 127 unknowns with Dirichlet walls; `k` on the 128 faces."""

    def apply(u):
        spacing = 1.0 / (HEAT_SIZE + 1)
        flux = faces * jnp.diff(jnp.pad(u, 1)) / spacing
        return jnp.diff(flux) / spacing

    operator = lx.FunctionLinearOperator(apply, jax.ShapeDtypeStruct((HEAT_SIZE,), faces.dtype))
    return kp.annotate(operator, tags=kp.self_adjoint_tag)


def heat_data(dtype=np.float64):
    """Face conductivities, start, cotangent."""
    x = np.arange(1, HEAT_SIZE + 1) / (HEAT_SIZE + 1)
    faces = (np.arange(HEAT_SIZE + 1) + 0.5) / (HEAT_SIZE + 1)
    k = 1.0 + 0.5 * np.sin(2 * np.pi * faces) + 0.3 * (faces > 0.5)
    v, g = np.exp(-(((x - 0.35) / 0.1) ** 2)), np.exp(-(((x - 0.6) / 0.12) ** 2))
    return tuple(jnp.asarray(a, dtype) for a in (k, v, g))


def spectral_gradient(apply, parameter, v, g, t, weight=None):
    """`∂/∂θ gᵀ exp(t A(θ)) v` by Daleckii and Krein's formula, for A self-adjoint in a diagonal weight.

    `exp` is differentiated through the eigenvalues' divided differences, and `θ -> A(θ)` as a dense matrix.
    """
    size = v.size
    unit = np.eye(size)

    def matrix(theta):
        return jax.vmap(lambda e: apply(theta, e.reshape(v.shape)).ravel())(jnp.asarray(unit)).T

    root = np.ones(size) if weight is None else np.sqrt(np.asarray(weight).ravel())
    symmetric = root[:, None] * np.asarray(matrix(parameter)) / root[None, :]
    values, vectors = np.linalg.eigh((symmetric + symmetric.T) / 2)
    left = vectors.T @ (np.asarray(g).ravel() / root)
    right = vectors.T @ (np.asarray(v).ravel() * root)
    a, b = np.meshgrid(t * values, t * values, indexing="ij")
    # (e^a - e^b)/(a - b) = e^((a+b)/2) sinh(d)/d, d = (a - b)/2, without cancellation.
    d = np.abs(a - b) / 2
    ratio = np.where(d < 1e-4, np.exp((a + b) / 2) * (1 + d**2 / 6), 0.0)
    top = np.maximum(a, b)
    ratio = np.where(d >= 1e-4, np.exp(top) * -np.expm1(-2 * d) / np.where(d > 0, 2 * d, 1.0), ratio)
    inner = t * ratio * np.outer(left, right)
    sensitivity = root[:, None] * (vectors @ inner @ vectors.T) / root[None, :]
    return jax.vjp(matrix, parameter)[1](jnp.asarray(sensitivity))[0]
