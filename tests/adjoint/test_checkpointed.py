"""The adjoint of Faber's recurrence from checkpoints: all modes and orders, sources, sensors, memory, failures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import krylovpde as kp
from tests.helpers import random_like, relative_error
from tests.told import damped_wave, driven_states

from .problems import OPERATORS, cotangent, objective, point

RTOL = 1e-10
CLOSE = 1e-8
GRID = kp.Grid(shape=(7, 6), lower=(0.0, 0.0), upper=(1.0, 1.0))
RNG = np.random.default_rng(51)
KAPPA, FIELD, SOURCE, WEIGHT = (jnp.asarray(RNG.uniform(0.5, 1.5, GRID.shape)) for _ in range(4))
VELOCITY = tuple(jnp.asarray(RNG.uniform(-3.0, 6.0, GRID.shape)) for _ in range(2))
SENSORS = kp.Sensors(GRID, [(0.21, 0.3), (0.7, 0.81)])
HESSIAN_PRODUCTS = {
    "jvp of grad": lambda f, x, d: jax.jvp(jax.grad(f), (x,), (d,))[1],
    "grad of jvp": lambda f, x, d: jax.grad(lambda x: jax.jvp(f, (x,), (d,))[1])(x),
    "grad of grad": lambda f, x, d: jax.grad(lambda x: inner(jax.grad(f)(x), d))(x),
}


def inner(x, y):
    return sum(jnp.real(jnp.sum(a * b)) for a, b in zip(jax.tree.leaves(x), jax.tree.leaves(y), strict=True))


def carried(method, kappa, velocity, start, source, observe=None):
    """A loss of the solution at three times, from parameters of every kind."""
    equation = kp.AdvectionDiffusion(GRID, kappa, velocity, source=source, boundary=kp.Dirichlet(1.0))
    times = jnp.asarray([0.0, 0.02, 0.3])
    value = kp.solve(equation, start, times, method=method, rtol=RTOL, observe=observe).value
    return jnp.sum(value**2) if observe is not None else jnp.sum(WEIGHT * value**2)


ARGUMENTS = (KAPPA, VELOCITY, FIELD, SOURCE)


def test_every_argument_in_both_modes(key):
    arguments = point("carried")
    directions = random_like(key, arguments)
    mine = objective("carried", method=kp.Faber(), rtol=RTOL)
    dense = objective("carried", method=kp.Dense())
    value, gradient = jax.jit(jax.value_and_grad(mine))(arguments)
    expected_value, expected = jax.jit(jax.value_and_grad(dense))(arguments)
    assert abs(value - expected_value) <= CLOSE * abs(expected_value)
    for one, other in zip(gradient, expected, strict=True):
        assert one.dtype == other.dtype
        assert relative_error(one, other) < CLOSE
    assert relative_error(gradient, expected) > 0.0  # if every bit agreed, the rule would not have run
    slope = jax.jit(lambda a, d: jax.jvp(mine, (a,), (d,))[1])(arguments, directions)
    assert abs(slope - inner(expected, directions)) <= CLOSE * 100


@pytest.mark.slow
@pytest.mark.parametrize("observe", [None, SENSORS], ids=["states", "sensors"])
def test_coefficients_velocities_start_and_source(observe):
    mine, dense = (
        jax.jit(jax.grad(lambda a, method=method: carried(method, *a, observe)))(ARGUMENTS)
        for method in (kp.Faber(), kp.Dense())
    )
    for one, other in zip(jax.tree.leaves(mine), jax.tree.leaves(dense), strict=True):
        assert relative_error(one, other) < CLOSE


@pytest.mark.slow
def test_the_parameters_of_an_observation():
    matrix = jnp.asarray(RNG.standard_normal((3, 12)))
    operator, vector = OPERATORS["carried"](point("carried")[0]), point("carried")[1]

    def loss(method, matrix):
        equation = kp.Linear(operator)
        observe = kp.SparseOperator.from_coo(
            np.repeat(np.arange(3), 12), np.tile(np.arange(12), 3), matrix.ravel(), (3, 12)
        )
        return jnp.sum(kp.solve(equation, vector, 0.2, method=method, observe=observe, rtol=RTOL).value ** 2)

    mine, dense = (jax.grad(lambda m, method=method: loss(method, m))(matrix) for method in (kp.Faber(), kp.Dense()))
    assert relative_error(mine, dense) < CLOSE


@pytest.mark.slow
@pytest.mark.parametrize(
    "mode", ["jvp of grad", *(pytest.param(mode, marks=pytest.mark.slow) for mode in ("grad of jvp", "grad of grad"))]
)
def test_second_derivatives_in_rough_directions_and_a_batch_of_them(mode, key):
    arguments = (KAPPA, FIELD)
    directions = jax.vmap(lambda k: random_like(k, arguments))(jax.random.split(key, 2))

    def batch(method):
        loss = lambda a: carried(method, a[0], VELOCITY, a[1], None)  # noqa: E731
        product = HESSIAN_PRODUCTS[mode]
        return jax.jit(jax.vmap(lambda d: product(loss, arguments, d)))(directions)

    assert relative_error(batch(kp.Faber()), batch(kp.Dense())) < 10 * CLOSE


EDGES, INSTANTS = np.asarray([0.5, 1.0, 1.0, 2.5]), np.asarray([0.7, 1.0, 1.9, 6.0])


def driven_arguments():
    """Speed, damping, start, profile and samples of a wave in first order; the source drives one part of the state."""
    rng = np.random.default_rng(8)
    normal = lambda *shape: jnp.asarray(rng.standard_normal(shape))  # noqa: E731
    speed, damping = (jnp.asarray(rng.uniform(*ends, 9)) for ends in ((1.2, 1.6), (0.0, 0.8)))
    return speed, damping, {"p": normal(9), "v": normal(8)}, {"p": normal(9), "v": jnp.zeros(8)}, normal(4)


def driven_loss(exact, arguments):
    speed, damping, start, profile, samples = arguments
    operator, signal = damped_wave(speed, damping), kp.Sampled(EDGES, samples)
    if exact:
        return jnp.sum(driven_states(operator, start, [(profile, signal)], EDGES, INSTANTS) ** 2)
    equation = kp.Linear(operator, kp.Source(profile, signal))
    value = kp.solve(equation, start, INSTANTS, method=kp.Faber(max_degree=256), rtol=RTOL).value
    return jnp.sum(value["p"] ** 2) + jnp.sum(value["v"] ** 2)


@pytest.mark.slow
def test_driven_pytrees_in_both_modes(key):
    arguments = driven_arguments()
    directions = random_like(key, arguments)
    mine, exact = (jax.jit(jax.grad(lambda a, e=e: driven_loss(e, a)))(arguments) for e in (False, True))
    for one, other in zip(mine, exact, strict=True):
        assert relative_error(one, other) < CLOSE
    assert relative_error(mine, exact) > 0.0
    slope = jax.jit(lambda a, d: jax.jvp(lambda a: driven_loss(False, a), (a,), (d,))[1])(arguments, directions)
    assert abs(slope - inner(exact, directions)) <= CLOSE * abs(slope)


@pytest.mark.slow
@pytest.mark.parametrize("mode", HESSIAN_PRODUCTS)
def test_second_derivatives_of_driven_pytrees(mode, key):
    arguments = driven_arguments()
    directions = jax.vmap(lambda k: random_like(k, arguments))(jax.random.split(key, 2))

    def batch(exact):
        product = lambda d: HESSIAN_PRODUCTS[mode](lambda a: driven_loss(exact, a), arguments, d)  # noqa: E731
        return jax.jit(jax.vmap(product))(directions)

    assert relative_error(batch(False), batch(True)) < 10 * CLOSE


@pytest.mark.slow
@pytest.mark.parametrize("samples_only", [True, False], ids=["samples", "profile and samples"])
def test_sources_alone(samples_only):
    # No parameter of the operator asks for the forward vectors: the samples do.
    speed, damping, start, profile, samples = driven_arguments()

    def loss(exact, chosen):
        own = (profile, chosen) if samples_only else chosen
        return driven_loss(exact, (speed, damping, start, *own))

    chosen = samples if samples_only else (profile, samples)
    mine, exact = (jax.jit(jax.grad(lambda a, e=e: loss(e, a)))(chosen) for e in (False, True))
    assert relative_error(mine, exact) < CLOSE


@pytest.mark.slow
def test_a_start_that_is_zero_has_a_gradient():
    def loss(method, start):
        equation = kp.AdvectionDiffusion(GRID, KAPPA, VELOCITY)
        return jnp.sum(WEIGHT * kp.solve(equation, start, 0.1, method=method, rtol=RTOL).value)

    zero = jnp.zeros(GRID.shape)
    mine, dense = (jax.grad(loss, argnums=1)(method, zero) for method in (kp.Faber(), kp.Dense()))
    assert relative_error(mine, dense) < CLOSE


@pytest.mark.slow
def test_a_batch_of_gradients_equals_a_loop():
    def gradient(scale):
        def loss(kappa):
            equation = kp.AdvectionDiffusion(GRID, kappa, (4.0 * scale, -2.0))
            return jnp.sum(WEIGHT * kp.solve(equation, FIELD, 0.2 * scale, method=kp.Faber(), rtol=RTOL).value ** 2)

        return jax.grad(loss)(KAPPA * scale)

    scales = jnp.asarray([0.2, 1.0, 3.0])
    together = jax.jit(jax.vmap(gradient))(scales)
    alone = jnp.stack([jax.jit(gradient)(scale) for scale in scales])
    assert relative_error(together, alone) < CLOSE


@pytest.mark.slow
def test_single_precision():
    single = jax.tree.map(lambda x: x.astype(jnp.float32), ARGUMENTS)

    def loss(arguments):
        kappa, velocity, start, source = arguments
        equation = kp.AdvectionDiffusion(GRID, kappa, velocity, source=source)
        return jnp.sum(kp.solve(equation, start, 0.1).value ** 2)

    mine, exact = jax.jit(jax.grad(loss))(single), jax.jit(jax.grad(loss))(ARGUMENTS)
    for one, other in zip(jax.tree.leaves(mine), jax.tree.leaves(exact), strict=True):
        assert one.dtype == jnp.float32
        assert relative_error(one, other) < 1e-4


@pytest.mark.slow
def test_all_levels_of_checkpoints_give_the_same_gradient():
    arguments = point("carried")
    stretched = (arguments[0], arguments[1], 3.0 * arguments[2][:1])

    def gradient(max_degree):
        p, v, t = stretched
        method = kp.Faber(max_degree=max_degree)

        def loss(p):
            return jnp.sum(kp.expm_multiply(OPERATORS["carried"](p), v, t, method=method, rtol=RTOL).value ** 2)

        return jax.jit(jax.grad(loss))(p)

    degree = int(
        kp.expm_multiply(
            OPERATORS["carried"](stretched[0]), *stretched[1:], method=kp.Faber(), rtol=RTOL
        ).stats.krylov_dimension
    )
    # Little room makes use of all three levels, a lot of room of two: the pairs are R³ at most with R slots on each.
    plenty, little = gradient(16384), gradient(degree + 8)
    assert relative_error(little, plenty) < 1e-12


def test_memory_does_not_depend_on_the_duration_and_is_what_the_checkpoints_take():
    grid = kp.Grid(shape=(128, 128), lower=(0.0, 0.0), upper=(1.0, 1.0))
    field = jnp.ones(grid.shape)

    def loss(kappa, t):
        equation = kp.AdvectionDiffusion(grid, kappa, (1.0, 1.0))
        return jnp.sum(kp.solve(equation, field, t, method=kp.Faber(), throw=False).value ** 2)

    # The duration is a number of the program, not a part of it: one program for all of them.
    memory = jax.jit(jax.value_and_grad(loss)).lower(field, jnp.ones(())).compile().memory_analysis()
    assert memory.temp_size_in_bytes < (6 * 21 + 40) * field.nbytes


def test_pullback_is_the_vjp_with_its_statistics():
    p, v, t = point("carried")
    operator, g = OPERATORS["carried"](p), cotangent(v)
    solution = kp.pullback(operator, v, t, g, method=kp.Faber(max_degree=64), rtol=RTOL)
    _, pull = jax.vjp(lambda v: kp.expm_multiply(operator, v, t, method=kp.Faber(), rtol=RTOL).value, v)
    assert relative_error(solution.value.vector, pull(g)[0]) < CLOSE
    stats = solution.stats
    assert stats.adjoint == "CheckpointedAdjoint"
    assert stats.transpose_applications == stats.parameter_vjps > 0
    # All terms once forwards, and with this little room some of them twice more.
    assert stats.transpose_applications < stats.applications <= 3 * stats.transpose_applications
    assert stats.error_estimate < 10 * RTOL


@pytest.mark.slow
def test_a_failed_pass_raises_or_gives_nan():
    def loss(throw, kappa):
        equation = kp.AdvectionDiffusion(GRID, kappa, (4.0, -2.0))
        return jnp.sum(kp.solve(equation, FIELD, 50.0, method=kp.Faber(max_degree=8), throw=throw).value)

    with pytest.raises(Exception, match="max_degree"):
        jax.block_until_ready(jax.jit(jax.grad(lambda c: loss(True, c)))(KAPPA))
    assert bool(jnp.all(jnp.isnan(jax.jit(jax.grad(lambda c: loss(False, c)))(KAPPA))))
