"""Shift-and-invert on radial grids of six decades: few solves, whatever the stiffness, and right gradients."""

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

import krylovpde as kp
from tests.helpers import relative_error

GRID = kp.RadialGrid(np.logspace(-3, 3, 61), dimension=2)
RADIUS = np.asarray(GRID.coordinates[0])
KAPPA = jnp.asarray(1.0 + 0.5 * np.sin(2 * np.log(RADIUS)))
STARTS = {
    "smooth": np.exp(-((RADIUS / 5.0) ** 2)),
    "rough": np.random.default_rng(2).standard_normal(GRID.shape),
    "point": np.eye(60)[20],
}
LOSS = jnp.asarray(np.exp(-((RADIUS / 20.0) ** 2)))


def reference(kappa, vector, source, t):
    """`exp(tA) v + t φ_1(tA) b` through the eigenvectors of a resolvent, which keeps the slow modes' digits."""
    operator = kp.Diffusion(GRID, kappa).operator()
    root = jnp.sqrt(jax.lax.stop_gradient(jnp.asarray(operator.weight)))
    matrix = root[:, None] * operator.as_matrix() / root[None, :]
    resolvent = jnp.linalg.inv(jnp.eye(60) - t * 0.5 * (matrix + matrix.T))
    values, vectors = jnp.linalg.eigh(0.5 * (resolvent + resolvent.T))
    z = jnp.minimum(1.0 - 1.0 / jnp.maximum(values, 1e-16), 0.0)
    safe = jnp.where(jnp.abs(z) < 1e-6, 1.0, z)
    average = jnp.where(jnp.abs(z) < 1e-6, 1.0 + z / 2, jnp.expm1(safe) / safe)
    mix = jnp.exp(z) * (vectors.T @ (root * vector)) + t * average * (vectors.T @ (root * source))
    return (vectors @ mix) / root


@pytest.mark.parametrize("t", [1e-4, 1.0, 4e3])
@pytest.mark.parametrize("start", STARTS)
def test_one_time(start, t):
    # rho is 2.8e7 here, so t rho goes up to 1.1e11; an explicit scheme would need as many steps. The reference is
    # within 5e-15 of eigenvectors in 40 digits.
    vector = jnp.asarray(STARTS[start])
    solution = kp.solve(kp.Diffusion(GRID, KAPPA), vector, t, method=kp.ShiftInvert(), rtol=1e-8)
    expected = reference(KAPPA, vector, jnp.zeros(60), t)
    scale = max(GRID.norm(expected), GRID.norm(vector))
    assert GRID.norm(solution.value - expected) <= 1e-7 * scale
    assert solution.stats.applications <= 32
    assert solution.stats.method == "ShiftInvert"


@pytest.mark.slow
def test_decades_of_times():
    times = jnp.logspace(-3, 2, 11)
    vector = jnp.asarray(STARTS["rough"])
    solution = kp.solve(kp.Diffusion(GRID, KAPPA), vector, times, method=kp.ShiftInvert(), rtol=1e-8)
    expected = jax.vmap(lambda t: reference(KAPPA, vector, jnp.zeros(60), t))(times)
    for value, exact in zip(solution.value, expected, strict=True):
        assert GRID.norm(value - exact) <= 1e-7 * GRID.norm(vector)
    assert solution.stats.applications <= 32 * 5


@pytest.mark.slow
def test_gradients_of_a_stiff_problem():
    def loss(solve, k, v, b):
        return jnp.sum(LOSS * solve(k, v, b) ** 2)

    def ours(k, v, b):
        equation = kp.Diffusion(GRID, k, source=b)
        return kp.solve(equation, v, 2.0, method=kp.ShiftInvert(), rtol=1e-8).value

    arguments = (KAPPA, jnp.asarray(STARTS["smooth"]), 0.1 * LOSS)
    mine = jax.jit(jax.grad(lambda a: loss(ours, *a)))(arguments)
    exact = jax.jit(jax.grad(lambda a: loss(lambda k, v, b: reference(k, v, b, 2.0), *a)))(arguments)
    for one, other in zip(mine, exact, strict=True):
        assert relative_error(one, other) < 1e-6


@pytest.mark.slow
def test_uniform_and_tridiagonal_operators():
    vector = jnp.asarray(np.random.default_rng(3).standard_normal(12))
    main, side = jnp.full(12, -2.5), jnp.ones(11)
    operator = kp.annotate(lx.TridiagonalLinearOperator(main, side, side), tags=kp.self_adjoint_tag)
    mine = kp.expm_multiply(operator, vector, jnp.asarray([0.0, 0.5, 3.0]), method=kp.ShiftInvert(), rtol=1e-9)
    dense = kp.expm_multiply(operator, vector, jnp.asarray([0.0, 0.5, 3.0]), method=kp.Dense())
    assert relative_error(mine.value, dense.value) < 1e-8
    assert bool(jnp.all(kp.expm_multiply(operator, 0 * vector, 1.0, method=kp.ShiftInvert()).value == 0))


@pytest.mark.parametrize("t", [1.0, 4e3])
def test_single_precision(t):
    equation = kp.Diffusion(GRID, KAPPA.astype(jnp.float32))
    vector = jnp.asarray(STARTS["smooth"], jnp.float32)
    solution = kp.solve(equation, vector, t, method=kp.ShiftInvert(), rtol=1e-4)
    exact = reference(KAPPA, jnp.asarray(STARTS["smooth"]), jnp.zeros(60), t)
    assert solution.value.dtype == jnp.float32
    assert GRID.norm(solution.value.astype(jnp.float64) - exact) <= 1e-4 * GRID.norm(STARTS["smooth"])
    assert solution.stats.krylov_dimension <= 20
    assert solution.stats.num_steps == 1


def test_growth_bounds_the_shift():
    # With the share of the duration alone, γ = 1.2 would lie beyond one over the growth rate, 1: no resolvent there.
    main, side = jnp.asarray(np.linspace(-300.0, 1.0, 24)), jnp.zeros(23)
    operator = kp.annotate(lx.TridiagonalLinearOperator(main, side, side), tags=kp.self_adjoint_tag)
    vector = jnp.ones(24)
    mine = kp.expm_multiply(operator, vector, 40.0, method=kp.ShiftInvert(), rtol=1e-8)
    assert relative_error(mine.value, jnp.exp(40.0 * main)) < 1e-7


@pytest.mark.bad_input
def test_what_it_cannot_serve_is_told():
    plane = kp.Grid(shape=(4, 4), lower=(0.0, 0.0), upper=(1.0, 1.0))
    with pytest.raises(ValueError, match="self-adjoint"):
        kp.solve(kp.AdvectionDiffusion(plane, 1.0, (1.0, 0.0)), jnp.ones((4, 4)), 1.0, method=kp.ShiftInvert())
    unknown = lx.FunctionLinearOperator(lambda x: -x, jax.ShapeDtypeStruct((4,), jnp.float64))
    unknown = kp.annotate(unknown, tags=kp.self_adjoint_tag)
    with pytest.raises(ValueError, match="entries are known"):
        kp.expm_multiply(unknown, jnp.ones(4), 1.0, method=kp.ShiftInvert())
    for option in ({"max_dimension": 1}, {"shift": 0.0}, {"max_iterations": 0}):
        with pytest.raises(ValueError, match=next(iter(option))):
            kp.ShiftInvert(**option)
