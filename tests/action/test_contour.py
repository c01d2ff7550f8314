"""The inverse Laplace transform on graded and radial grids: bounded work for any stiffness, any number of times."""

import functools

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest
from jax import lax
from scipy.special import exp1

import krylovpde as kp
from krylovpde.integrate._entrance import choose
from tests.action.test_shift_invert import GRID, KAPPA, LOSS, STARTS, reference
from tests.helpers import dense, relative_error, variants

TIMES = jnp.logspace(-3, 3, 19)


def _random(*shape):
    return np.random.default_rng(5).standard_normal(shape)


@pytest.mark.parametrize("rtol", variants([1e-4, 1e-6, 1e-9], quick=[1e-9]))
def test_decades_of_times_and_of_stiffness(rtol):
    # The spectral radius times the duration is 2.8e10.
    references = jax.jit(jax.vmap(lambda v, t: reference(KAPPA, v, jnp.zeros(60), t), in_axes=(None, 0)))
    for start in STARTS.values():
        vector = jnp.asarray(start)
        solution = kp.solve(kp.Diffusion(GRID, KAPPA), vector, TIMES, rtol=rtol)
        assert solution.stats.method == "Contour"
        assert solution.stats.applications <= 7 * 38
        for value, exact in zip(solution.value, references(vector, TIMES), strict=True):
            assert GRID.norm(value - exact) <= rtol * GRID.norm(vector)


def test_a_source_alone_is_right_at_each_time():
    """Relative to the solution itself, which is a thousand times smaller at the first time than at the last."""
    source = 0.1 * LOSS
    solution = kp.solve(kp.Diffusion(GRID, KAPPA, source=source), jnp.zeros(60), TIMES, rtol=1e-7)
    expected = jax.vmap(lambda t: reference(KAPPA, jnp.zeros(60), source, t))(TIMES)
    for value, exact in zip(solution.value, expected, strict=True):
        assert GRID.norm(value - exact) <= 1e-7 * GRID.norm(exact)


def test_a_single_time_takes_few_solves():
    vector, source = jnp.asarray(STARTS["rough"]), 0.1 * LOSS
    solution = kp.solve(kp.Diffusion(GRID, KAPPA, source=source), vector, 2.0, rtol=1e-8)
    assert solution.stats.applications == 14
    exact = reference(KAPPA, vector, source, 2.0)
    assert GRID.norm(solution.value - exact) <= 1e-8 * GRID.norm(vector)


def test_gradients_in_both_modes():
    """Of the coefficients, the initial state and the source, over four decades of times, beside a dense reference."""
    times = (1e-2, 2.0, 300.0)

    def ours(arguments):
        k, v, b = arguments
        states = kp.solve(kp.Diffusion(GRID, k, source=b), v, jnp.asarray(times), rtol=1e-8).value
        return jnp.sum(LOSS * states**2)

    arguments = (KAPPA, jnp.asarray(STARTS["smooth"]), 0.1 * LOSS)
    mine = jax.jit(jax.grad(ours))(arguments)
    exact = jax.jit(jax.grad(lambda a: sum(jnp.sum(LOSS * reference(*a, t) ** 2) for t in times)))(arguments)
    for one, other in zip(mine, exact, strict=True):
        assert relative_error(one, other) < 1e-6
    direction = tuple(jnp.asarray(_random(3, 60)))
    slope = jax.jvp(ours, (arguments,), (direction,))[1]
    along = sum(float(jnp.sum(g * d)) for g, d in zip(exact, direction, strict=True))
    assert float(slope) == pytest.approx(along, rel=1e-6)


def _loss(solve, k, t):
    start = jnp.asarray(STARTS["smooth"])
    return jnp.sum(LOSS * solve(k, start, 0.0 * start, t) ** 2)


def _ours(k, v, b, t):
    return kp.solve(kp.Diffusion(GRID, k, source=b), v, t, rtol=1e-8).value


def test_the_derivative_with_respect_to_a_time():
    mine, exact = (jax.jit(jax.grad(lambda t, s=solve: _loss(s, KAPPA, t)))(2.0) for solve in (_ours, reference))
    assert float(mine) == pytest.approx(float(exact), rel=1e-6)


@pytest.mark.slow
def test_second_derivatives():
    direction = jnp.asarray(_random(60))

    @functools.partial(jax.jit, static_argnums=0)
    def product(solve):
        return jax.jvp(jax.grad(lambda k: _loss(solve, k, 2.0)), (KAPPA,), (direction,))[1]

    assert relative_error(product(_ours), product(reference)) < 1e-5


def _tridiagonal(main, side):
    return kp.annotate(lx.TridiagonalLinearOperator(main, side, side), tags=kp.self_adjoint_tag)


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.complex128])
def test_any_tridiagonal_operator_times_of_any_order(kind):
    """Repeated times and zero, a spectrum that may reach beyond zero; complex states of a real operator."""
    real = np.finfo(kind).dtype
    operator = _tridiagonal(jnp.linspace(-9.0, -1.5, 12).astype(real), jnp.ones(11, real))
    vectors = _random(2, 12) + 1j * _random(2, 12)[::-1]
    vectors = [jnp.asarray(v if kind == np.complex128 else v.real, kind) for v in vectors]
    times = jnp.asarray([0.5, 0.0, 3.0, 0.5, 0.01], real)
    rtol = 1e-4 if kind == np.float32 else 1e-9
    mine = kp.phi_multiply(operator, vectors, times, method=kp.Contour(), rtol=rtol)
    parts = ([part(v) for v in vectors] for part in (jnp.real, jnp.imag))
    theirs = [kp.phi_multiply(operator, part, times, method=kp.Dense()).value for part in parts]
    assert mine.value.dtype == kind
    exact = theirs[0] if kind != np.complex128 else lax.complex(*theirs)
    for one, other in zip(mine.value, exact, strict=True):
        assert relative_error(one, other) < rtol
    assert mine.stats.num_steps == 2


def test_a_hermitian_operator():
    side, vector = (jnp.asarray(part[0] + 1j * part[1]) for part in (_random(2, 7), _random(2, 8)))
    main = jnp.linspace(-30.0, 0.0, 8).astype(side.dtype)
    matrix = jnp.diag(main) + jnp.diag(side, 1) + jnp.diag(side.conj(), -1)
    entries = lx.TridiagonalLinearOperator(main, side.conj(), side)
    operator = kp.annotate(entries, tags=kp.self_adjoint_tag)
    mine = kp.expm_multiply(operator, vector, 0.7, method=kp.Contour(), rtol=1e-9).value
    assert relative_error(mine, jax.scipy.linalg.expm(0.7 * matrix) @ vector) < 1e-9


def test_what_grows_stays_in_the_tolerance_or_is_told():
    """With the growth of the operator the rule's error grows; so the estimate knows how much the solution has grown."""
    main, side = jnp.asarray(np.linspace(-300.0, 1.0, 24)), jnp.zeros(23)
    vector = jnp.ones(24)
    mine = kp.expm_multiply(_tridiagonal(main, side), vector, 40.0, method=kp.Contour(), rtol=1e-8)
    assert relative_error(mine.value, jnp.exp(40.0 * main)) < 1e-8
    decaying = vector.at[-1].set(0.0)
    failed = kp.expm_multiply(_tridiagonal(main, side), decaying, 40.0, method=kp.Contour(), rtol=1e-8, throw=False)
    assert failed.result == kp.RESULTS.tolerance_not_reached


def test_batches_of_coefficients_and_of_times():
    vector = jnp.asarray(STARTS["smooth"])
    factors = jnp.asarray([0.5, 1.0, 3.0])
    times = jnp.asarray([[0.1, 0.2], [1.0, 500.0], [3e-3, 2.0]])

    def at(factor, times):
        return kp.solve(kp.Diffusion(GRID, factor * KAPPA), vector, times, rtol=1e-8).value

    both = jax.vmap(at)(factors, times)
    for i in range(3):
        assert relative_error(both[i], at(factors[i], times[i])) < 1e-12


def test_the_choice_of_solve():
    """Graded and one-dimensional; what asks for another adjoint or order keeps its space."""
    graded = kp.Grid.from_edges([np.linspace(0.0, 1.0, 9) ** 1.5])
    plane = kp.Grid.from_edges([np.linspace(0.0, 1.0, 4) ** 1.5, np.linspace(0.0, 1.0, 4) ** 1.5])
    even = kp.Grid(shape=(8,), lower=(0.0,), upper=(1.0,))

    def chosen(grid, order=1, adjoint=None, onwards=True):
        method, adjoint = choose(kp.Diffusion(grid, 1.0).operator(), order, None, adjoint, onwards=onwards)
        return method.name, adjoint.name

    assert chosen(graded) == ("Contour", "DirectAdjoint")
    assert [chosen(grid)[0] for grid in (plane, even)] == ["Lanczos", "Chebyshev"]
    assert chosen(graded, adjoint=kp.TwoSidedAdjoint()) == ("Lanczos", "TwoSidedAdjoint")
    assert chosen(graded, onwards=False)[0] == "Lanczos"
    assert chosen(graded, order=2)[0] == "Chebyshev"


def test_a_transposed_operator():
    graded = kp.Grid.from_edges([np.linspace(0.0, 1.0, 9) ** 1.5])
    operator = kp.Diffusion(graded, 1.0, boundary=kp.Dirichlet(0.0)).operator().transpose()
    vector = jnp.asarray(_random(8))
    mine = kp.expm_multiply(operator, vector, 0.1, method=kp.Contour(), rtol=1e-9).value
    assert relative_error(mine, jax.scipy.linalg.expm(0.1 * dense(operator)) @ vector) < 1e-9


def test_a_well_that_is_pumped():
    """Theis: a radial grid of five decades, 67 output times over four, 1e11 in the spectral radius times duration."""
    grid = kp.RadialGrid(np.geomspace(0.05, 2e4, 401))
    conductivity, storage, rate = 462.0, 1.78e-4, 788.0
    times, radii = np.geomspace(1e-4, 0.6, 67), np.array([30.0, 90.0])

    def drawdowns(conductivity, storage):
        well = kp.Neumann(rate / (2 * np.pi * grid.edges[0][0]))
        boundary = kp.Boundary(lower=well, upper=kp.Dirichlet())
        equation = kp.Diffusion(grid, conductivity, capacity=storage, boundary=boundary)
        sensors = kp.Sensors(grid, radii[:, None])
        return kp.solve(equation, jnp.zeros(grid.shape), times, observe=sensors, rtol=1e-7)

    solution = drawdowns(conductivity, storage)
    assert solution.stats.applications < 250
    argument = radii**2 * storage / (4 * conductivity * times[:, None])
    exact = rate / (4 * np.pi * conductivity) * exp1(argument)
    # 1e-3 m of 1 m is what the cells leave.
    assert np.max(np.abs(solution.value - exact)) < 3e-4 * exact.max()
    jacobian = jax.jacfwd(lambda k: drawdowns(k, storage).value)(conductivity)
    slope = (np.exp(-argument) * rate / (4 * np.pi * conductivity) - exact) / conductivity
    assert np.max(np.abs(jacobian - slope)) < 1e-3 * np.abs(slope).max()


@pytest.mark.bad_input
def test_what_it_cannot_serve_is_told():
    plane = kp.Grid(shape=(4, 4), lower=(0.0, 0.0), upper=(1.0, 1.0))
    line = kp.Grid(shape=(4,), lower=(0.0,), upper=(1.0,))
    method = kp.Contour()
    with pytest.raises(ValueError, match="tridiagonal"):
        kp.solve(kp.Diffusion(plane, 1.0), jnp.ones((4, 4)), 1.0, method=method)
    with pytest.raises(ValueError, match="self-adjoint"):
        kp.solve(kp.AdvectionDiffusion(line, 1.0, (1.0,)), jnp.ones(4), 1.0, method=method)
    with pytest.raises(ValueError, match="first order"):
        kp.solve(kp.Wave(line, 1.0), kp.WaveState(jnp.ones(4), jnp.ones(4)), 1.0, method=method)
    with pytest.raises(ValueError, match="ratio"):
        kp.Contour(ratio=0.5)
    with pytest.raises(ValueError, match=r"TwoSidedAdjoint\(\).*Contour\(\).*DirectAdjoint\(\)"):
        kp.solve(kp.Diffusion(line, 1.0), jnp.ones(4), 1.0, method=method, adjoint=kp.TwoSidedAdjoint())
    operator = kp.Diffusion(line, 1.0).operator()
    backwards = kp.expm_multiply(operator, jnp.ones(4), jnp.asarray([-1.0, 1.0]), method=method, throw=False)
    assert backwards.result == kp.RESULTS.negative_duration
    assert bool(jnp.all(jnp.isnan(backwards.value[0])))
    times = jnp.logspace(-6, 0, 7)
    short = kp.solve(kp.Diffusion(line, 1.0), jnp.ones(4), times, method=method, max_steps=2, throw=False)
    assert short.result == kp.RESULTS.max_steps_reached
    assert np.array_equal(np.isnan(short.value[:, 0]), np.arange(7) >= 2)
