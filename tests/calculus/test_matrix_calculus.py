"""The rules of matrix calculus, checked on our operators: one test per rule."""

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

import krylovpde as kp
from krylovpde.functions import eigenpairs, inverse_multiply, log_determinant
from tests.helpers import dense, relative_error, rounding

# Graded, so that the inner product is not the Euclidean one up to a factor.
GRID = kp.Grid.from_edges([np.cumsum(np.concatenate([[0.0], 1.1 ** np.arange(10.0)]))])
WEIGHT = GRID.cell_volumes


def shifted(diffusivity):
    """`1 - div(k grad)`: positive definite in the cell volumes."""
    identity = lx.IdentityLinearOperator(jax.ShapeDtypeStruct(GRID.shape, np.float64))
    return identity - kp.Diffusion(GRID, diffusivity).operator()


def diffusivity_of(key):
    return jnp.exp(0.3 * jax.random.normal(key, GRID.shape))


def test_gradient_in_a_weighted_inner_product(key):
    """`dJ = <grad J, du>_M`: the gradient of `½ <u, A u>_M` is `A u`, that of JAX is `M A u`."""
    keys = jax.random.split(key)
    operator, u = shifted(diffusivity_of(keys[0])), jax.random.normal(keys[1], GRID.shape)
    plain = jax.grad(lambda u: 0.5 * GRID.inner(u, operator.mv(u)))(u)
    assert relative_error(plain, WEIGHT * operator.mv(u)) < rounding(np.float64)
    product = kp.inverse.L2(GRID)
    start = kp.inverse.InInnerProduct.from_value(u, product)

    def functional(raw):
        value = kp.inverse.InInnerProduct(raw, product).value
        return 0.5 * GRID.inner(value, operator.mv(value))

    # In coordinates in which the inner product is Euclidean, a step along the gradient is a step along `A u`.
    step = kp.inverse.InInnerProduct(jax.grad(functional)(start.raw), product).value
    assert relative_error(step, operator.mv(u)) < rounding(np.float64)


def test_inverse(key):
    """`d(A⁻¹) = -A⁻¹ dA A⁻¹`."""
    keys = jax.random.split(key, 4)
    diffusivity, direction = diffusivity_of(keys[0]), jax.random.normal(keys[1], GRID.shape)
    v, g = jax.random.normal(keys[2], (2, *GRID.shape))
    slope = jnp.vdot(
        jax.grad(lambda k: jnp.vdot(g, inverse_multiply(shifted(k), v, rtol=1e-10).value))(diffusivity), direction
    )
    inverse = np.linalg.inv(dense(shifted(diffusivity)))
    change = jax.jvp(lambda k: dense(shifted(k)), (diffusivity,), (direction,))[1]
    assert slope == pytest.approx(float(-g @ inverse @ change @ inverse @ v), rel=1e-7)


def test_log_determinant(key):
    """`d log det A = tr(A⁻¹ dA)` (Jacobi), in every cell."""
    diffusivity = diffusivity_of(key)

    def ours(k):
        return log_determinant(shifted(k), key, num_probes=2, deflation=10, rtol=1e-9).value

    change = jax.jacfwd(lambda k: dense(shifted(k)))(diffusivity)
    expected = np.einsum("ij,jik->k", np.linalg.inv(dense(shifted(diffusivity))), change)
    assert relative_error(jax.grad(ours)(diffusivity), expected) < 1e-7


def test_exponential(key):
    """The derivative of `exp` is the corner of `exp([[A, dA], [0, A]])`; it is not `exp(A) dA`."""
    keys = jax.random.split(key, 3)
    diffusivity, direction = diffusivity_of(keys[0]), jax.random.normal(keys[1], GRID.shape)
    v, g = jax.random.normal(keys[2], (2, *GRID.shape))

    def functional(k):
        return jnp.vdot(g, kp.expm_multiply(kp.Diffusion(GRID, k).operator(), v, 0.7, rtol=1e-10).value)

    def matrix_of(k):
        return dense(kp.Diffusion(GRID, k).operator())

    matrix, change = jax.jvp(matrix_of, (diffusivity,), (direction,))
    block = jnp.block([[matrix, change], [jnp.zeros_like(matrix), matrix]])
    derivative = jax.scipy.linalg.expm(0.7 * block)[:10, 10:]
    slope = jnp.vdot(jax.grad(functional)(diffusivity), direction)
    assert slope == pytest.approx(float(g @ derivative @ v), rel=1e-8)
    commuting = 0.7 * jax.scipy.linalg.expm(0.7 * matrix) @ change
    assert relative_error(commuting, derivative) > 0.01


@pytest.mark.parametrize("which", ["smallest", "largest"])
def test_eigenpairs(which, key):
    """Hellmann and Feynman for the values, the bordered system for the vectors, in the cells' inner product."""
    keys = jax.random.split(key, 4)
    diffusivity, weights = diffusivity_of(keys[0]), jax.random.normal(keys[1], (3,))
    cotangents = jax.random.normal(keys[2], (3, *GRID.shape))

    def ours(k):
        found = eigenpairs(shifted(k), 3, key, which=which, rtol=1e-9)
        return jnp.vdot(weights, found.values) + jnp.vdot(cotangents, found.vectors), found

    (_, found), gradient = jax.jit(jax.value_and_grad(ours, has_aux=True))(diffusivity)
    order = slice(None, 3) if which == "smallest" else slice(None, -4, -1)
    half = jnp.asarray(np.sqrt(WEIGHT))

    def theirs(k):
        values, vectors = jnp.linalg.eigh(dense(shifted(k)) * half[:, None] / half)
        rows = vectors.T[order] / half
        signs = jnp.sign(jnp.sum(rows * found.vectors, axis=1, keepdims=True))
        return jnp.vdot(weights, values[order]) + jnp.vdot(cotangents, signs * rows), values[order]

    expected, values = jax.jit(jax.grad(theirs, has_aux=True))(diffusivity)
    assert relative_error(found.values, values) < 1e-12
    gram = found.vectors * jnp.asarray(WEIGHT) @ found.vectors.T
    assert relative_error(gram, jnp.eye(3)) < 1e-12
    assert relative_error(gradient, expected) < 1e-6


def test_degenerate_eigenvalues_are_refused(key):
    """Modes of a square come in pairs, of which a Krylov space shows one; the lowest alone is simple."""
    square = kp.Grid((4, 4), (0.0, 0.0), (1.0, 1.0))
    operator = -kp.Diffusion(square, 1.0).operator()
    assert eigenpairs(operator, 2, key, throw=False).result == kp.RESULTS.degenerate_eigenvalues
    with pytest.raises(eqx.EquinoxRuntimeError, match="agree to rounding"):
        eigenpairs(operator, 3, key)
    lowest = eigenpairs(operator, 1, key)
    assert lowest.successful
    assert abs(float(lowest.values[0])) < 1e-10


def test_complex_gradients(key):
    """CR calculus: for real `J` of complex `u`, JAX's gradient is `2 ∂J/∂u`, the conjugate of the steepest ascent."""
    keys = jax.random.split(key, 3)
    potential = jax.random.normal(keys[0], GRID.shape)
    u, target = (jax.lax.complex(*jax.random.normal(k, (2, *GRID.shape))) for k in keys[1:])

    def functional(u, potential):
        state = kp.solve(kp.Schrodinger(GRID, potential), u, 0.3, rtol=1e-10).value
        return jnp.sum(jnp.abs(jnp.vdot(target * WEIGHT.astype(complex), state)) ** 2), state

    (_, state), (slope, slope_potential) = jax.jit(jax.value_and_grad(functional, (0, 1), has_aux=True))(u, potential)
    flow = jax.scipy.linalg.expm(0.3 * dense(kp.Schrodinger(GRID, potential).operator()))
    assert relative_error(state, flow @ u) < 1e-8
    row = np.conj(np.asarray(target) * WEIGHT) @ np.asarray(flow)
    overlap = row @ np.asarray(u)
    # ∂|<t, F u>|² / ∂u = conj(<t, F u>) (t* F), with conj(u) held fixed.
    assert relative_error(slope, 2 * np.conj(overlap) * row) < 1e-7
    assert not jnp.iscomplexobj(slope_potential)


@pytest.mark.parametrize("function", [jnp.sin, jnp.exp])
def test_finite_differences_are_v_shaped(function):
    """Truncation falls as `h²`, rounding rises as `ε / h`: the best step is about `ε^{1/3}`, and leaves `ε^{2/3}`."""
    eps, x = np.finfo(np.float64).eps, 1.0
    steps = np.geomspace(1e-10, 1e-1, 400)
    slope = float(jax.grad(function)(x))
    errors = np.abs((np.asarray(function(x + steps)) - np.asarray(function(x - steps))) / (2 * steps) - slope)
    best = eps ** (1 / 3)
    coarse, fine = steps > 30 * best, steps < best / 30
    assert np.polyfit(np.log(steps[coarse]), np.log(errors[coarse]), 1)[0] == pytest.approx(2.0, abs=0.1)
    kept = fine & (errors > 0)
    assert np.polyfit(np.log(steps[kept]), np.log(errors[kept]), 1)[0] == pytest.approx(-1.0, abs=0.2)
    # The envelope: single errors vanish by luck.
    rounding_part, truncation = eps / steps, steps**2
    envelope = steps[np.argmin(rounding_part + truncation)]
    assert best / 2 < envelope < 2 * best
    assert np.max(errors / (rounding_part + truncation)) < 5
    near = errors[(steps > best / 2) & (steps < 2 * best)]
    assert np.median(near) < 10 * eps ** (2 / 3)


@pytest.mark.slow
def test_finite_differences_of_a_solve(key):
    """The same V for a functional of a solve: no step gives what the gradient gives without one."""
    keys = jax.random.split(key, 3)
    diffusivity, direction = diffusivity_of(keys[0]), jax.random.normal(keys[1], GRID.shape)
    v, g = jax.random.normal(keys[2], (2, *GRID.shape))

    @jax.jit
    def functional(k):
        return jnp.vdot(g, kp.expm_multiply(kp.Diffusion(GRID, k).operator(), v, 0.7, rtol=1e-12).value)

    slope = float(jnp.vdot(jax.grad(functional)(diffusivity), direction))
    steps = np.geomspace(1e-11, 1e-1, 41)
    ends = [[float(functional(diffusivity + sign * h * direction)) for h in steps] for sign in (1, -1)]
    errors = np.abs((np.asarray(ends[0]) - np.asarray(ends[1])) / (2 * steps) - slope) / abs(slope)
    best = steps[np.argmin(errors)]
    assert 1e-7 < best < 1e-3
    assert errors.min() < 1e-9
    assert errors[-1] > 1e4 * errors.min()
    assert np.max(errors[:5]) > 1e2 * errors.min()
