"""Boundary values that vary in time: against exact exponentials between jumps, closed forms, and dense derivatives."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import krylovpde as kp
from tests.helpers import dense, random_like, relative_error

RTOL = 1e-8


def by_stretches(make, values, jumps, start, times):
    """`make(value)` has a constant value on its wall: one exponential for each stretch on which it is constant."""
    state, order = jnp.ravel(start), make(values[0]).order
    size = state.size
    state = jnp.concatenate([state, jnp.zeros(size)]) if order == 2 else state
    observed = [state[:size] for t in times if t == 0.0]
    for low, high in itertools.pairwise(np.unique(np.concatenate([[0.0], jumps, times]))):
        posed = make(values[int(np.searchsorted(jumps, 0.5 * (low + high)))])
        matrix, force = dense(posed.operator()), jnp.ravel(posed.forcing())
        zero = jnp.zeros_like(matrix)
        body = matrix if order == 1 else jnp.block([[zero, jnp.eye(size)], [matrix, zero]])
        rows = len(body)
        generator = jnp.zeros((rows + 1, rows + 1)).at[:rows, :rows].set(body).at[rows - size : rows, -1].set(force)
        moved = jax.scipy.linalg.expm(generator * (high - low), max_squarings=32) @ jnp.append(state, 1.0)
        state = moved[:rows]
        observed += [state[:size] for t in times if t == high]
    return jnp.stack(observed)


JUMP = 0.1
ROD = kp.Grid((100,), (0.0,), (1.0,))
LINE = kp.Grid((160,), (0.0,), (0.8,))
COLUMN = kp.Grid((40,), (0.0,), (2.0,))


def rod(value):
    """A wall whose temperature jumps."""
    return kp.Diffusion(ROD, 1.0, boundary=kp.Boundary(lower=kp.Dirichlet(value), upper=kp.Dirichlet()))


def wave(value):
    """One end is pushed with a force that jumps."""
    return kp.Wave(LINE, 1.0, boundary=kp.Boundary(lower=kp.Neumann(value), upper=kp.Dirichlet()))


def column(value):
    """A tracer is fed for a while."""
    return kp.AdvectionDiffusion(COLUMN, 0.06, 1.5, boundary=kp.Boundary(lower=kp.TotalFlux(value)))


def rod_exactly(t):
    x, n = ROD.coordinates[0], np.arange(1, 400)[:, None] * np.pi
    total = 0.0
    for height, begin in ((1.0, 0.0), (1.5, JUMP)):
        if t > begin:
            total += height * (1.0 - x - np.sum(2.0 / n * np.sin(n * x) * np.exp(-(n**2) * (t - begin)), axis=0))
    return total


def wave_exactly(t):
    """D'Alembert's `∫_0^(t - x) w`, before anything comes back."""
    late = t - LINE.coordinates[0]
    return 2.0 * np.maximum(late, 0.0) - 5.0 * np.maximum(late - JUMP, 0.0)


CASES = {
    # make, values before and after the jump, closed form, and how far the grid may be from it
    "rod": (rod, (1.0, 2.5), rod_exactly, 2e-3),
    "wave": (wave, (2.0, -3.0), wave_exactly, 2e-2),
    "column": (column, (1.5, 0.0), None, None),
}
TIMES = np.array([JUMP - 2e-3, JUMP, JUMP + 2e-3, 0.3])


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name != "rod" else name for name in CASES]
)
def test_both_sides_of_a_jump(name):
    make, values, closed, of_grid = CASES[name]
    equation = make(kp.Sampled([0.0, JUMP], values, kind="previous"))
    zero = jnp.zeros(equation.grid.shape)
    start = kp.WaveState(zero, zero) if equation.order == 2 else zero
    solution = kp.solve(equation, start, TIMES, rtol=RTOL)
    found = solution.value.displacement if equation.order == 2 else solution.value
    expected = by_stretches(make, values, [JUMP], zero, TIMES)
    errors = jnp.linalg.norm(found - expected, axis=1) / jnp.linalg.norm(expected, axis=1)
    assert jnp.all(errors < RTOL), errors
    if closed is not None:
        for t, value in zip(TIMES, found, strict=True):
            distance = np.linalg.norm(value - closed(t)) / np.linalg.norm(closed(t))
            assert distance < of_grid, (t, distance)
    else:
        # What came in is there: nothing has reached the outlet, and nothing comes in after the pulse.
        fed = 1.5 * np.minimum(TIMES, JUMP)
        np.testing.assert_allclose(jax.vmap(equation.grid.integrate)(found), fed, rtol=1e-7)


PLATE = kp.Grid((4, 3), (0.0, 0.0), (1.0, 1.0))
BREAKS = np.array([0.04, 0.11])
MOMENTS = np.array([0.04, 0.09, 0.2])


def plate_arguments():
    """Diffusivity, samples, a profile over the face, the start: all as rough as they can be."""
    rng = np.random.default_rng(11)
    return tuple(
        map(jnp.asarray, (rng.uniform(0.5, 1.5, PLATE.shape), *rng.standard_normal((2, 3)), rng.random((4, 3))))
    )


def plate(diffusivity, lower, upper):
    boundary = kp.Boundary(lower=(kp.Dirichlet(lower), kp.Neumann()), upper=(kp.Robin(1.0, 0.5, upper), kp.Neumann()))
    return kp.Diffusion(PLATE, diffusivity, boundary=boundary, capacity=2.0)


def plate_prediction(arguments, method=None, rtol=1e-10):
    diffusivity, samples, profile, start = arguments
    series = kp.Piecewise(BREAKS, samples)
    equation = plate(diffusivity, [0.3, kp.Source(profile, series)], series)
    return kp.solve(equation, start, MOMENTS, rtol=rtol, method=method).value.reshape(MOMENTS.size, -1)


def plate_reference(arguments):
    diffusivity, samples, profile, start = arguments
    return by_stretches(lambda w: plate(diffusivity, 0.3 + profile * w, w), samples, BREAKS, start, MOMENTS)


def objective(predict, arguments):
    weights = jnp.asarray(np.random.default_rng(7).standard_normal((MOMENTS.size, 12)))
    value = predict(arguments)
    return jnp.sum(weights * value + 0.5 * value**2)


@functools.cache
def exact_gradient():
    return jax.jit(jax.grad(functools.partial(objective, plate_reference)))(plate_arguments())


def agree(mine, theirs, tolerance):
    for own, exact in zip(mine, theirs, strict=True):
        assert relative_error(own, exact) < tolerance


@pytest.mark.slow
def test_gradients_reach_samples_profiles_and_the_diffusivity():
    arguments = plate_arguments()
    gradient = jax.jit(jax.grad(functools.partial(objective, plate_prediction)))(arguments)
    agree(gradient, exact_gradient(), 1e-8)


@pytest.mark.slow
def test_forward_mode_is_reverse_mode(key):
    arguments = plate_arguments()
    direction = random_like(key, arguments)
    smooth = jax.tree.map(jnp.ones_like, arguments)
    slope = jax.jit(lambda a, d: jax.jvp(functools.partial(objective, plate_prediction), (a,), (d,))[1])
    for along in (direction, smooth):
        expected = sum(jnp.vdot(a, b) for a, b in zip(exact_gradient(), along, strict=True))
        assert abs(slope(arguments, along) - expected) < 1e-8 * abs(expected)


@pytest.mark.slow
@pytest.mark.parametrize("method", [kp.Lanczos(), kp.Arnoldi(), kp.ShiftInvert(), kp.ETDRK4(kp.Chebyshev())])
def test_gradients_from_panel_to_panel_and_in_steps(method, key):
    arguments = plate_arguments()
    predict = functools.partial(objective, functools.partial(plate_prediction, method=method, rtol=1e-9))
    agree(jax.jit(jax.grad(predict))(arguments), exact_gradient(), 1e-7)
    direction = random_like(key, arguments)
    slope = jax.jit(lambda a, d: jax.jvp(predict, (a,), (d,))[1])(arguments, direction)
    expected = sum(jnp.vdot(a, b) for a, b in zip(exact_gradient(), direction, strict=True))
    assert abs(slope - expected) < 1e-7 * abs(expected)


@pytest.mark.slow
def test_second_derivatives(key):
    arguments = plate_arguments()
    direction = random_like(key, arguments)

    def along(predict):
        gradient = jax.grad(functools.partial(objective, predict))
        return jax.jit(lambda a, d: jax.jvp(gradient, (a,), (d,))[1])(arguments, direction)

    agree(along(plate_prediction), along(plate_reference), 1e-7)


@pytest.mark.slow
def test_a_batch_of_series_is_one_solve_each():
    diffusivity, _, profile, start = plate_arguments()
    batch = jnp.asarray(np.random.default_rng(3).standard_normal((3, 3)))
    together = jax.jit(jax.vmap(lambda samples: plate_prediction((diffusivity, samples, profile, start))))(batch)
    single = jnp.stack([plate_prediction((diffusivity, samples, profile, start)) for samples in batch])
    assert relative_error(together, single) < 1e-12


@pytest.mark.slow
def test_single_precision():
    """The state's dtype decides, also beside a series in double precision."""
    diffusivity, samples, profile, start = plate_arguments()
    low = plate_prediction((diffusivity.astype(jnp.float32), samples, profile, start.astype(jnp.float32)), rtol=1e-5)
    assert low.dtype == jnp.float32
    assert relative_error(low, plate_reference(plate_arguments())) < 1e-5


def test_a_value_on_the_wall_of_schrodingers_equation():
    grid = kp.Grid((12,), (0.0,), (1.0,))

    def make(value):
        return kp.Schrodinger(grid, 3.0, boundary=kp.Boundary(lower=kp.Robin(1.0, 0.5, value), upper=kp.Dirichlet()))

    (profile, signal), *others = make([1.0, kp.Sampled([0.0, JUMP], [1.0, -2.0], kind="previous")]).driving()
    assert not others
    np.testing.assert_allclose(profile, make(1.0).forcing(), rtol=1e-14)
    np.testing.assert_allclose(make([1.0, lambda t: t]).forcing(), make(1.0).forcing(), rtol=1e-14)
    assert signal(0.2) == -2.0
