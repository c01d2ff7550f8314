"""Where steps end, and what they see there."""

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

import krylovpde as kp
from krylovpde.integrate import inside
from krylovpde.integrate._cuts import cuts_of
from krylovpde.integrate._driven_method import method_for_driven
from tests.helpers import dense, random_like, relative_error

GRID = kp.Grid((6,), (0.0,), (1.0,))


def driven_by(*signals):
    return kp.Diffusion(GRID, 1.0, source=[kp.Source(1.0, signal) for signal in signals])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_a_step_sees_its_ends_from_within(dtype):
    begin, end = jnp.asarray(-1.5, dtype), jnp.asarray(0.0, dtype)
    t = jnp.asarray([-1.5, -0.7, 0.0, 1e-30], dtype)
    seen = jax.jit(jax.vmap(lambda t: inside(t, begin, end)))(t)
    assert begin < seen[0]
    assert seen[1] == t[1]
    assert jnp.all(seen[2:] < end)
    np.testing.assert_allclose(seen, t, atol=2e-7)
    np.testing.assert_array_equal(jax.vmap(jax.grad(lambda t: inside(t, begin, end)))(t), 1.0)


def test_jumps_and_kinks_end_a_step():
    equation = driven_by(kp.Sampled([0.1, 0.4], [1.0, 2.0]), kp.Piecewise([0.3], [0.0, 1.0]))
    np.testing.assert_array_equal(equation.breakpoints, [0.1, 0.3, 0.4])
    cuts = cuts_of(equation, jnp.asarray(0.2), jnp.asarray(0.5), adaptive=True)
    ends = [float(cuts.next(jnp.asarray(time), jnp.asarray(0.5))) for time in (0.2, 0.3, 0.35, 0.4)]
    assert ends == [0.3, 0.4, 0.4, 0.5]
    # A target carries its derivative, a break is a constant; one that is both is a target.
    for target, slope in ((0.25, 1.0), (0.3, 1.0), (0.35, 0.0)):
        assert jax.grad(lambda target: cuts.next(jnp.asarray(0.2), target))(target) == slope


def test_every_equation_knows_its_jumps():
    on_wall, inside_it, potential = (kp.Piecewise([time], [0.0, 1.0]) for time in (0.3, 0.1, 0.2))
    walls = kp.Boundary(upper=kp.Neumann(on_wall))
    sources = {"a": kp.Source(1.0, inside_it), "b": None}
    species = kp.ReactionDiffusion(
        GRID, {"a": 1.0, "b": 2.0}, lambda _t, _x, u: u, boundary=walls, source=sources, breakpoints=[0.9, 0.5]
    )
    # One wall for each species.
    np.testing.assert_array_equal(species.breakpoints, [0.1, 0.3, 0.3, 0.5, 0.9])
    particle = kp.Schrodinger(GRID, [1.0, kp.Source(1.0, potential)], boundary=walls)
    np.testing.assert_array_equal(particle.breakpoints, [0.2, 0.3])
    np.testing.assert_array_equal(kp.Wave(GRID, 1.0, boundary=walls).breakpoints, [0.3])
    assert kp.Diffusion(GRID, 1.0, source=2.0).breakpoints.size == 0


def test_no_step_reaches_across_a_pulse():
    cuts = cuts_of(
        driven_by(lambda t: jnp.exp(-(((t - 0.3) / 1e-3) ** 2))), jnp.asarray(0.0), jnp.asarray(1.0), adaptive=True
    )
    time, ends = jnp.asarray(0.0), []
    while time < 1.0:
        assert len(ends) < 9
        time = cuts.next(time, jnp.asarray(1.0))
        ends.append(float(time))
    assert min(abs(end - 0.3) for end in ends) < 1e-3


@pytest.mark.parametrize("name", ["ETDRK4", pytest.param("ETDRK2", marks=pytest.mark.slow)])
def test_the_estimate_sees_what_moves_in_time_alone(name):
    """`u' = cos(8 t)`: all stages at `t + h` see the same, and their difference nothing."""
    equation = kp.Semilinear(
        0.0 * lx.IdentityLinearOperator(jax.ShapeDtypeStruct((1,), float)), lambda t, u: jnp.cos(8.0 * t) + 0.0 * u
    )
    errors, rtols = [], (1e-2, 1e-4) if name == "ETDRK2" else (1e-3, 1e-6)
    for rtol in rtols:
        value = kp.solve(
            equation, jnp.ones(1), 2.0, method=getattr(kp, name)(kp.Dense()), rtol=rtol, max_steps=900
        ).value
        errors.append(abs(float(value[0]) - 1.0 - np.sin(16.0) / 8.0))
    assert errors[0] < rtols[0]
    assert errors[1] < rtols[1]


def pushed(arguments, method):
    """`u' = A u + [t < 0.3] a + [t > 0.3] b sin(9 t)`, the jump hidden in a function."""
    first, second, start = arguments

    def push(t, u):
        return jnp.where(t < 0.3, first, second * jnp.sin(9.0 * t)) + 0.0 * u

    equation = kp.Semilinear(kp.Laplacian(GRID, kp.Dirichlet()), push, breakpoints=[0.3])
    # The start is rough: Strang's steps, of order two, are 2900 at 1e-4 and 10 times as many at 1e-6 (measured).
    rtol, room = {kp.Strang: (1e-4, 4096), kp.ETDRK2: (1e-7, 8192)}.get(type(method), (1e-7, 100))
    solution = kp.solve(equation, start, jnp.asarray([0.2, 0.3, 0.5]), method=method, rtol=rtol, max_steps=room)
    return jnp.sum(solution.value**2), solution.stats.num_steps


def pushed_exactly(arguments):
    """One exponential for each stretch, of unknowns, 1, and sine and cosine."""
    first, second, start = arguments
    matrix = dense(kp.Laplacian(GRID, kp.Dirichlet()))
    total, state = 0.0, jnp.concatenate([start, jnp.asarray([1.0, np.sin(2.7), np.cos(2.7)])])
    for length, push in ((0.2, (first, 0.0)), (0.1, (first, 0.0)), (0.2, (0.0, second))):
        generator = jnp.zeros((9, 9)).at[:6, :6].set(matrix).at[:6, 6].set(push[0]).at[:6, 7].set(push[1])
        generator = (
            generator.at[7, 8].set(9.0).at[8, 7].set(-9.0) if length == 0.2 and push[0] is not first else generator
        )
        state = jax.scipy.linalg.expm(generator * length) @ state
        total = total + jnp.sum(state[:6] ** 2)
    return total


METHODS = {
    "ETDRK4 dense": kp.ETDRK4(kp.Dense()),
    "ETDRK4": kp.ETDRK4(),
    "ETDRK2": kp.ETDRK2(kp.Dense()),
    "Rosenbrock": kp.Rosenbrock(kp.Dense()),
    "Strang": kp.Strang(kp.Dense()),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_a_jump_that_is_named(name, key):
    arguments = (jnp.asarray(2.0), jnp.asarray(-3.0), jnp.asarray(np.random.default_rng(2).random(GRID.shape)))
    method = METHODS[name]
    run = jax.jit(jax.value_and_grad(lambda a: pushed(a, method), has_aux=True))
    (value, steps), gradient = run(arguments)
    exact, slopes = jax.value_and_grad(pushed_exactly)(arguments)
    tolerance = 1e-3 if name == "Strang" else 1e-6 if method.extrapolates else 1e-5
    assert abs(value - exact) < tolerance * exact
    assert relative_error(gradient, slopes) < tolerance
    direction = random_like(key, arguments)
    slope = jax.jit(lambda a, d: jax.jvp(lambda a: pushed(a, method)[0], (a,), (d,))[1])(arguments, direction)
    total = sum(jnp.vdot(a, b) for a, b in zip(gradient, direction, strict=True))
    np.testing.assert_allclose(slope, total, rtol=1e-9)
    if name == "ETDRK4 dense":
        assert steps < 40


@pytest.mark.slow
def test_what_serves_a_driven_operator():
    """A matrix of which nothing is known: exact for series, steps for functions, words for what does not go."""
    matrix = kp.SparseOperator.from_coo([0, 0, 1, 1], [0, 1, 0, 1], jnp.asarray([-1.0, 2.0, -2.0, -1.0]), (2, 2))
    series = kp.Sampled([0.0, 0.4, 0.4, 1.0], [1.0, 2.0, -1.0, 0.5])
    start, profile = jnp.zeros(2), jnp.asarray([1.0, 0.5])
    solution = kp.solve(kp.Linear(matrix, source=kp.Source(profile, series)), start, 0.7, rtol=1e-9)
    assert solution.stats.method == "Panels(Arnoldi)"
    assert solution.stats.num_steps == 2
    generator = np.zeros((4, 4))
    generator[:2, :2], generator[3, 2] = matrix.as_matrix(), 1.0  # unknowns, 1, and the time since the last jump
    state = np.zeros(2)
    for length, first, slope in ((0.4, 1.0, 2.5), (0.3, -1.0, 2.5)):
        generator[:2, 2:] = np.outer(profile, [first, slope])
        whole = jax.scipy.linalg.expm(jnp.asarray(generator * length))
        state = np.asarray(whole @ jnp.asarray([*state, 1.0, 0.0]))[:2]
    np.testing.assert_allclose(solution.value, state, rtol=1e-8)
    smooth = kp.Linear(matrix, source=kp.Source(profile, jnp.sin))
    signals = [signal for _, signal in smooth.driving()]
    assert isinstance(method_for_driven(matrix, 1, signals, None), kp.ETDRK4)
    assert method_for_driven(driven_by(jnp.sin).operator(), 1, signals, None) is None  # Chebyshev's polynomials
    with pytest.raises(ValueError, match=r"ETDRK4\(Arnoldi\(\)\)"):
        kp.solve(smooth, start, 0.7, method=kp.Arnoldi())


@pytest.mark.bad_input
def test_breakpoints_that_are_none():
    with pytest.raises(ValueError, match="list of real times"):
        kp.Semilinear(kp.Laplacian(GRID), lambda _t, u: u, breakpoints=0.3)
    with pytest.raises(ValueError, match="list of real times"):
        kp.ReactionDiffusion(GRID, 1.0, lambda _t, _x, u: u, breakpoints=[1.0j])


@pytest.mark.slow
def test_strang_sees_one_side_of_a_jump():
    """Its reaction steps ask for the sources without the constant ones: they, too, are seen from within the step."""
    grid = kp.Grid((8,), (0.0,), (1.0,))
    source = kp.Source(1.0 + np.cos(np.pi * grid.coordinates[0]), kp.Piecewise([0.31], [0.0, 8.0]))
    equation, start = kp.Diffusion(grid, 0.05, source=source), jnp.zeros(8)
    method = kp.Strang(kp.Dense())
    solution = kp.solve(equation, start, 1.0, method=method, rtol=1e-4, atol=1e-6, max_steps=64)
    assert solution.stats.num_steps < 40
    assert relative_error(solution.value, kp.solve(equation, start, 1.0, rtol=1e-9).value) < 1e-4
