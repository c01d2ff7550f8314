"""The reversible adjoint of Chebyshev's recurrence: the battery of derivatives, waves, sources, sensors, memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import krylovpde as kp
from tests.helpers import random_like, relative_error

from .problems import OPERATORS, cotangent, objective, point

RTOL = 1e-10
CLOSE = 1e-8
BOUNDS = {"self-adjoint": 160.0, "weighted": 500.0, "hermitian": 60.0, "skew": 80.0, "skew hermitian": 120.0}
GRID = kp.Grid(shape=(7, 6), lower=(0.0, 0.0), upper=(1.0, 1.0))
RNG = np.random.default_rng(21)
SPEED, FIELD, SECOND, THIRD = (jnp.asarray(RNG.uniform(0.5, 1.5, GRID.shape)) for _ in range(4))
SENSORS = kp.Sensors(GRID, [(0.21, 0.3), (0.7, 0.81)])
HESSIAN_PRODUCTS = {
    "jvp of grad": lambda f, x, d: jax.jvp(jax.grad(f), (x,), (d,))[1],
    "grad of jvp": lambda f, x, d: jax.grad(lambda x: jax.jvp(f, (x,), (d,))[1])(x),
    "grad of grad": lambda f, x, d: jax.grad(lambda x: inner(jax.grad(f)(x), d))(x),
}


def inner(x, y):
    return sum(jnp.real(jnp.sum(a * b)) for a, b in zip(jax.tree.leaves(x), jax.tree.leaves(y), strict=True))


@pytest.fixture(autouse=True)
def bounded(monkeypatch):
    """The operators of the shared battery, with the bound that Chebyshev needs."""
    for name, bound in BOUNDS.items():
        plain = OPERATORS[name]
        monkeypatch.setitem(
            OPERATORS, name, lambda p, plain=plain, bound=bound: kp.annotate(plain(p), spectral_bound=bound)
        )


def short(name):
    p, v, t = point(name)
    return p, v, t * (3.0 / BOUNDS[name] / 0.2)


QUICK = ("hermitian",)


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in BOUNDS]
)
def test_every_operator_and_argument_in_both_modes(name, key):
    # Short times: all that is known of these spectra is a bound, so they might grow.
    arguments = short(name)
    directions = random_like(key, arguments)
    mine = objective(name, method=kp.Chebyshev(), rtol=RTOL)
    dense = objective(name, method=kp.Dense())
    value, gradient = jax.jit(jax.value_and_grad(mine))(arguments)
    expected_value, expected = jax.jit(jax.value_and_grad(dense))(arguments)
    assert abs(value - expected_value) <= CLOSE * abs(expected_value)
    for one, other in zip(gradient, expected, strict=True):
        assert one.dtype == other.dtype
        assert relative_error(one, other) < CLOSE
    slope = jax.jit(lambda a, d: jax.jvp(mine, (a,), (d,))[1])(arguments, directions)
    assert abs(slope - inner(expected, directions)) <= CLOSE * 100


def loss_of(kind):
    """A loss of a few fields, and the point at which it is differentiated."""

    def wave(method, c, u, v):
        times = jnp.asarray([0.0, 0.3, 0.7, 0.7])
        state = kp.solve(kp.Wave(GRID, c), kp.WaveState(u, v), times, method=method, rtol=RTOL).value
        return jnp.sum(SECOND * state.displacement**2) + jnp.sum(THIRD * state.velocity)

    def sensors(method, c, u, b):
        equation = kp.Wave(GRID, c, source=b)
        times = jnp.asarray([0.3, 1.1])
        start = kp.WaveState(u, jnp.zeros_like(u))
        return jnp.sum(kp.solve(equation, start, times, method=method, rtol=RTOL, observe=SENSORS).value ** 2)

    def heat(method, c, u, b):
        equation = kp.Diffusion(GRID, c, boundary=kp.Dirichlet(1.0), source=b)
        return jnp.sum(THIRD * kp.solve(equation, u, jnp.asarray([0.01, 0.03]), method=method, rtol=RTOL).value ** 2)

    losses = {"wave": wave, "sensors and a source": sensors, "heat with a source": heat}
    return losses[kind], (SPEED, FIELD, THIRD)


@pytest.mark.parametrize(
    "kind",
    ["sensors and a source", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("wave", "heat with a source"))],
)
def test_equations(kind):
    loss, arguments = loss_of(kind)
    mine = jax.jit(jax.grad(lambda a: loss(kp.Chebyshev(), *a)))(arguments)
    dense = jax.jit(jax.grad(lambda a: loss(kp.Dense(), *a)))(arguments)
    for one, other in zip(mine, dense, strict=True):
        assert relative_error(one, other) < CLOSE


@pytest.mark.slow
@pytest.mark.parametrize(
    "mode", ["jvp of grad", *(pytest.param(mode, marks=pytest.mark.slow) for mode in ("grad of jvp", "grad of grad"))]
)
def test_second_derivatives_in_rough_directions_and_a_batch_of_them(mode, key):
    loss, arguments = loss_of("wave")
    directions = jax.vmap(lambda k: random_like(k, arguments))(jax.random.split(key, 2))

    def batch(method):
        product = HESSIAN_PRODUCTS[mode]
        return jax.jit(jax.vmap(lambda d: product(lambda a: loss(method, *a), arguments, d)))(directions)

    assert relative_error(batch(kp.Chebyshev()), batch(kp.Dense())) < 10 * CLOSE


@pytest.mark.slow
def test_a_start_that_is_zero_has_a_gradient():
    def loss(method, v):
        state = kp.solve(kp.Wave(GRID, SPEED), kp.WaveState(FIELD, v), 0.7, method=method, rtol=RTOL).value
        return jnp.sum(SECOND * state.displacement)

    zero = jnp.zeros(GRID.shape)
    mine, dense = (jax.grad(loss, argnums=1)(method, zero) for method in (kp.Chebyshev(), kp.Dense()))
    assert relative_error(mine, dense) < CLOSE


@pytest.mark.slow
def test_a_batch_of_gradients_equals_a_loop():
    def gradient(scale):
        c = SPEED * scale
        start = kp.WaveState(FIELD, jnp.zeros_like(FIELD))

        def loss(c):
            value = kp.solve(kp.Wave(GRID, c), start, 3.0 * scale, rtol=RTOL).value.displacement
            return jnp.sum(SECOND * value**2)

        return jax.grad(loss)(c)

    scales = jnp.asarray([0.2, 1.0, 3.0])
    together = jax.jit(jax.vmap(gradient))(scales)
    alone = jnp.stack([jax.jit(gradient)(scale) for scale in scales])
    assert relative_error(together, alone) < CLOSE


def test_memory_does_not_depend_on_the_duration_and_is_some_twenty_fields():
    grid = kp.Grid(shape=(256, 256), lower=(0.0, 0.0), upper=(1.0, 1.0))
    field = jnp.ones(grid.shape)

    def loss(c, t):
        state = kp.solve(kp.Wave(grid, c), kp.WaveState(field, jnp.zeros_like(field)), t, throw=False).value
        return jnp.sum(state.displacement**2)

    # The duration is a number of the program, not a part of it: one program for all of them.
    memory = jax.jit(jax.value_and_grad(loss)).lower(field, jnp.ones(())).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 24 * field.nbytes


@pytest.mark.slow
def test_pullback_is_the_vjp_with_its_statistics():
    p, v, t = short("weighted")
    g = cotangent(v)
    operator = OPERATORS["weighted"](p)
    solution = kp.pullback(operator, v, t, g, method=kp.Chebyshev(), rtol=RTOL)
    _, pull = jax.vjp(lambda v: kp.expm_multiply(operator, v, t, method=kp.Chebyshev(), rtol=RTOL).value, v)
    assert relative_error(solution.value.vector, pull(g)[0]) < CLOSE
    stats = solution.stats
    assert stats.adjoint == "ReversibleAdjoint"
    assert stats.transpose_applications == stats.parameter_vjps > 0
    assert stats.applications <= 2 * stats.transpose_applications + 1
    assert stats.error_estimate < 10 * RTOL


@pytest.mark.slow
def test_a_failed_pass_raises_or_gives_nan():
    def loss(throw, c):
        start = kp.WaveState(FIELD, jnp.zeros_like(FIELD))
        method = kp.Chebyshev(max_degree=8)
        return jnp.sum(kp.solve(kp.Wave(GRID, c), start, 50.0, method=method, throw=throw).value.displacement)

    with pytest.raises(Exception, match="max_degree"):
        jax.block_until_ready(jax.jit(jax.grad(lambda c: loss(True, c)))(SPEED))
    assert bool(jnp.all(jnp.isnan(jax.jit(jax.grad(lambda c: loss(False, c)))(SPEED))))
