"""Derivatives of stiff problems in rough directions, every mode, by resolvents: against dense rational functions.

The reference is the inverse Laplace transform on Talbot's cotangent contour (Weideman 2006) with dense solves: a fixed
rational function of the operator, which automatic differentiation may go through in any mode and order.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

import krylovpde as kp
from tests.helpers import relative_error

SIZE = 40
GRID = kp.RadialGrid(np.logspace(-3, 3, SIZE + 1), dimension=2)
RADIUS = np.asarray(GRID.coordinates[0])
RNG = np.random.default_rng(21)
KAPPA = jnp.asarray(1.0 + 0.5 * np.sin(2 * np.log(RADIUS)))
CAPACITY = jnp.asarray(1.0 + 0.3 * np.cos(np.log(RADIUS)))
START = jnp.asarray(np.exp(-((RADIUS / 5.0) ** 2)))
SOURCE = jnp.asarray(0.1 * np.exp(-((RADIUS / 20.0) ** 2)))
POINT = (KAPPA, CAPACITY, START, SOURCE)
DIRECTION = tuple(jnp.asarray(RNG.standard_normal(SIZE)) for _ in POINT)
# rho is 1e7 here, so that t rho is 1e7 and 1e10.
TIMES = (1.0, 1e3)


def talbot(matrix, start, source, t, count=24):
    """`exp(tA) v + t φ_1(tA) b`."""
    angles = np.pi * (2 * np.arange(count) + 1 - count) / count
    angles, bend = angles[angles > 0], 0.6407
    nodes = count * (0.5017 * angles / np.tan(bend * angles) - 0.6122 + 0.2645j * angles)
    slopes = 0.5017 / np.tan(bend * angles) - 0.5017 * bend * angles / np.sin(bend * angles) ** 2 + 0.2645j
    points, weights = jnp.asarray(nodes) / t, jnp.asarray(np.exp(nodes) * slopes / 1j) / t
    start, source, matrix = (x.astype(jnp.complex128) for x in (start, source, matrix))

    def solve(point):
        shifted = point * jnp.eye(SIZE, dtype=jnp.complex128) - matrix
        return jnp.linalg.solve(shifted, start + source / point)

    # One after the other: stacked solves may wait for each other for ever on two CPU threads (see `_hessenberg`).
    return 2.0 * jnp.real(jnp.matmul(weights, jax.lax.map(solve, points)))


def dense(arguments, t):
    kappa, capacity, start, source = arguments
    operator = kp.Diffusion(GRID, kappa, capacity=capacity).operator()
    return talbot(operator.as_matrix(), start, source / capacity, t)


def ours(arguments, t, rtol=1e-9):
    kappa, capacity, start, source = arguments
    equation = kp.Diffusion(GRID, kappa, capacity=capacity, source=source)
    return kp.solve(equation, start, t, method=kp.ShiftInvert(), rtol=rtol).value


def loss(function):
    weights = jnp.asarray(GRID.cell_volumes / np.max(GRID.cell_volumes) + np.exp(-RADIUS))
    return lambda arguments, t: jnp.sum(weights * function(arguments, t) ** 2)


def forward(function):
    return jax.jit(lambda x, d, t: jax.jvp(lambda x: function(x, t), (x,), (d,))[1])


def hessian(function):
    gradient = jax.grad(loss(function))
    return jax.jit(lambda x, d, t: jax.jvp(lambda x: gradient(x, t), (x,), (d,))[1])


def only(index):
    """The direction of one argument alone, so that none hides behind another."""
    return tuple(d if i == index else jnp.zeros_like(d) for i, d in enumerate(DIRECTION))


@pytest.mark.slow
def test_tangents():
    mine, theirs = forward(ours), forward(dense)
    for t in map(jnp.asarray, TIMES):
        for index in range(len(POINT)):
            one, other = mine(POINT, only(index), t), theirs(POINT, only(index), t)
            assert GRID.norm(one - other) < 1e-7 * GRID.norm(other)


@pytest.mark.slow
def test_hessian_products():
    # The derivative in the capacity of a rough start is made of `A u`, which no tolerance on `u` bounds: at rtol = 1e-9
    # that block was wrong by 4e-5 (all others by 1e-6 at most), at 1e-11 by 2e-11.
    mine, theirs = hessian(lambda arguments, t: ours(arguments, t, rtol=1e-11)), hessian(dense)
    for t in map(jnp.asarray, TIMES):
        for index in range(len(POINT)):
            one, other = mine(POINT, only(index), t), theirs(POINT, only(index), t)
            for block, expected in zip(one, other, strict=True):
                assert relative_error(block, expected) < 1e-6


def test_a_tangent_needs_few_solves():
    # A polynomial space would need 1e5 applications. A tangent's resolvent is two solves and a product with dA.
    from krylovpde.action import Problem, Schedule, Settings, ShiftInvertArnoldi, march
    from krylovpde.adjoint._tangent import TangentOperator
    from krylovpde.operator import weight

    operator = kp.Diffusion(GRID, KAPPA).operator()
    tangent = jax.tree.map(
        lambda leaf: jnp.asarray(RNG.standard_normal(leaf.shape)), eqx.filter(operator, eqx.is_array)
    )
    pair = TangentOperator(operator, tangent)
    settings = Settings(ShiftInvertArnoldi(64, 0.03, 100), 1e-9, 0.0, 8)
    problem = Problem(pair, weight(pair), None, 1)
    final = march(settings, problem, ((START, jnp.zeros(SIZE)),), Schedule(jnp.asarray([1e3])), 0)
    assert final.counters.steps == 1
    assert final.counters.dimension <= 45
    assert final.counters.applications == 3 * final.counters.dimension


@pytest.mark.slow
def test_other_compositions():
    arguments, t = (KAPPA, CAPACITY, START, SOURCE), jnp.asarray(1.0)

    def along(function):
        # Reverse over forward; a batch of directions at once.
        slope = lambda x, d: jax.jvp(lambda x: loss(function)(x, t), (x,), (d,))[1]  # noqa: E731
        return jax.jit(jax.vmap(jax.grad(slope), in_axes=(None, 0)))

    directions = jax.tree.map(lambda d: jnp.stack([d, -2.0 * d[::-1]]), DIRECTION)
    for one, other in zip(along(ours)(arguments, directions), along(dense)(arguments, directions), strict=True):
        assert relative_error(one, other) < 1e-5


@pytest.mark.slow
def test_tridiagonal_operator_and_linearize():
    main = jnp.asarray(-np.logspace(0, 6, 12) - 1.0)
    side = jnp.asarray(0.3 * np.sqrt(np.asarray(main)[1:] * np.asarray(main)[:-1]))
    vector = jnp.asarray(RNG.standard_normal(12))

    def function(method, main, side):
        operator = lx.TridiagonalLinearOperator(main, side, side)
        operator = kp.annotate(operator, tags=kp.self_adjoint_tag)
        times = jnp.asarray([0.01, 0.3])
        return kp.expm_multiply(operator, vector, times, method=method, rtol=1e-9).value

    directions = (jnp.asarray(RNG.standard_normal(12)) * main, jnp.asarray(RNG.standard_normal(11)) * side)
    _, linear = jax.linearize(lambda *x: function(kp.ShiftInvert(), *x), main, side)
    _, expected = jax.jvp(lambda *x: function(kp.Dense(), *x), (main, side), directions)
    assert relative_error(linear(*directions), expected) < 1e-6
    transposed = jax.linear_transpose(linear, main, side)(expected)
    _, pull = jax.vjp(lambda *x: function(kp.Dense(), *x), main, side)
    assert relative_error(transposed, pull(expected)) < 1e-6


@pytest.mark.slow
def test_single_precision():
    single = jax.tree.map(lambda x: x.astype(jnp.float32), POINT)
    direction = jax.tree.map(lambda x: x.astype(jnp.float32), DIRECTION)
    mine = forward(lambda x, t: ours(x, t, rtol=1e-4))(single, direction, jnp.asarray(1.0, jnp.float32))
    theirs = forward(dense)(POINT, DIRECTION, jnp.asarray(1.0))
    assert mine.dtype == jnp.float32
    assert GRID.norm(mine.astype(jnp.float64) - theirs) < 3e-3 * GRID.norm(theirs)


@pytest.mark.slow
def test_the_plane():
    edges = np.expm1(np.log(300.0) * np.linspace(0.0, 1.0, 9)) / 299.0
    grid = kp.Grid.from_edges([edges, edges])
    x, y = grid.coordinates
    kappa = jnp.asarray(np.exp(np.sin(6.0 * x) * np.cos(5.0 * y)))
    start, direction = jnp.asarray(np.exp(-(x**2 + y**2) / 0.1)), jnp.asarray(RNG.standard_normal(grid.shape))

    def function(method):
        def value(kappa):
            equation = kp.Diffusion(grid, kappa, boundary=kp.Dirichlet())
            return jnp.sum(kp.solve(equation, start, 0.1, method=method, rtol=1e-8).value ** 2)

        return jax.jit(lambda k, d: jax.jvp(jax.grad(value), (k,), (d,)))

    for mine, theirs in zip(
        function(kp.ShiftInvert())(kappa, direction), function(kp.Dense())(kappa, direction), strict=True
    ):
        assert relative_error(mine, theirs) < 1e-5


@pytest.mark.slow
def test_backwards_in_time_is_told():
    # The value of so short a step backwards is right; its tangent has no contour, and says so instead of guessing.
    operator, t = kp.Diffusion(GRID, KAPPA).operator(), -1e-7

    def function(factor):
        return kp.expm_multiply(factor * operator, START, t, method=kp.ShiftInvert(), throw=False).value

    value, change = jax.jvp(function, (jnp.asarray(1.0),), (jnp.asarray(1.0),))
    assert GRID.norm(value - START) < 1e-5 * GRID.norm(START)
    assert bool(jnp.all(jnp.isnan(change)))
