"""Nonlinear diffusion: its fluxes, Barenblatt's front, orders, derivatives in both modes."""

import functools

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import krylovpde as kp
import krylovpde.diffrax as kd
from krylovpde.equation import AbstractEquation
from tests.helpers import random_like, relative_error

LINE = kp.Grid(12, 0.0, 1.0)
X = LINE.coordinates[0]
START = jnp.asarray(0.6 + 0.3 * np.cos(2 * np.pi * X))
GRADED = kp.Grid.from_edges([[0.0, 0.1, 0.25, 0.5, 0.6], [0.0, 0.5, 0.8, 1.6]])
SIDES = kp.Boundary(lower=(kp.Dirichlet(2.0), kp.Robin(1.0, 0.5, 3.0)), upper=(kp.Neumann(0.7), kp.TotalFlux(0.2)))
# Small matrices compile in a fraction of the time of an Arnoldi loop, and give the same numbers.
DENSE = kp.Dense()


def porous_fisher(diffusivity=0.05, rate=2.0, capacity=1.0, boundary=None):
    """`u_t = (D u_x u)_x + r u (1 - u)`, with closed-over parameters."""
    return kp.NonlinearDiffusion(
        LINE,
        lambda u: diffusivity * u,
        boundary=boundary,
        reaction=lambda _t, _x, u: rate * u * (1.0 - u),
        capacity=capacity,
    )


# ---- fluxes


@pytest.mark.parametrize(
    ("grid", "boundary"),
    [
        (GRADED, SIDES),
        (GRADED, (kp.Periodic(), kp.Dirichlet())),
        (kp.Grid((5, 4), (0.0, 0.0), (1.0, 2.0)), kp.Periodic()),
        (kp.RadialGrid(np.geomspace(0.1, 2.0, 7)), kp.Boundary(lower=kp.Neumann(-1.0), upper=kp.Dirichlet(1.0))),
    ],
)
def test_a_constant_function_is_linear_diffusion(grid, boundary, key):
    """All walls, grids, coefficients; sources and capacity."""
    factor, capacity, u = (random_like(k, jnp.zeros(grid.shape)) for k in jax.random.split(key, 3))
    options = {"boundary": boundary, "capacity": jnp.exp(capacity), "source": 1.5}
    factor = jnp.exp(factor)
    linear = kp.Diffusion(grid, 3.0 * factor, reaction_rate=0.7, **options)
    other = kp.NonlinearDiffusion(grid, lambda _: 3.0, factor=factor, reaction=lambda _t, _x, u: 0.7 * u, **options)
    assert relative_error(other.vector_field(0.0, u), linear.vector_field(0.0, u)) < 1e-13
    np.testing.assert_allclose(kp.weight(other.operator()), kp.weight(linear.operator()))


def test_cubes_are_differences_of_their_integrals():
    """Simpson's rule is exact: the flux is that of `u⁴/4` through every face, walls too."""
    grid, start = kp.Grid(6, 0.0, 1.2), jnp.asarray([0.0, 0.0, 0.3, 1.0, 0.7, 0.2])
    equation = kp.NonlinearDiffusion(grid, lambda u: u**3, boundary=kp.Boundary(upper=kp.Dirichlet(0.5)))
    integral = start**4 / 4.0
    flux = jnp.concatenate([jnp.zeros(1), jnp.diff(integral) / 0.2, (0.5**4 / 4.0 - integral[-1:]) / 0.1])
    np.testing.assert_allclose(equation.vector_field(0.0, start), jnp.diff(flux) / 0.2, rtol=1e-12, atol=1e-14)


def test_a_dry_cell_is_wetted():
    """From its neighbour and from a wall, also one whose value depends on the flux."""
    for condition in (kp.Dirichlet(1.0), kp.Robin(1.0, 0.1, 1.0)):
        dry = kp.NonlinearDiffusion(LINE, lambda u: u**2, boundary=kp.Boundary(lower=condition))
        rate = dry.vector_field(0.0, jnp.zeros(12).at[8].set(1.0))
        assert rate[0] > 0.0
        assert jnp.all(rate[jnp.array([7, 9])] > 0.0)
        assert jnp.sum(jnp.abs(rate) > 0) == 4


def test_a_function_is_not_asked_beyond_its_values():
    """Undefined at zero, and differentiated: nothing is evaluated behind a wall."""
    equation = kp.NonlinearDiffusion(LINE, jnp.log)
    slope = jax.grad(lambda u: jnp.sum(equation.vector_field(0.0, u) ** 2))(4.0 + START)
    assert jnp.all(jnp.isfinite(slope))


def test_the_state_decides_the_precision():
    equation = porous_fisher(0.05, 2.0, jnp.ones(12))
    rate = equation.vector_field(0.0, START.astype(jnp.float32))
    assert rate.dtype == jnp.float32
    np.testing.assert_allclose(rate, equation.vector_field(0.0, START), rtol=1e-5, atol=1e-5)
    report = kp.verify.structure_test(equation.frozen(START)[0], key=jax.random.key(0))
    assert report.passed, report


# ---- Barenblatt


def barenblatt(power, x, t):
    """The similarity solution of `u_t = (u^power u_x)_x` in one dimension (Barenblatt 1952), and its front."""
    exponent, scaled = power + 1, t / (power + 1)
    beta = 1.0 / (power + 2)
    curvature = beta * power / (2 * exponent)
    profile = np.maximum(0.1 - curvature * (x / scaled**beta) ** 2, 0.0) ** (1.0 / power)
    return scaled**-beta * profile, np.sqrt(0.1 / curvature) * scaled**beta


@pytest.mark.parametrize("power", [1, 2, 3])
@pytest.mark.slow
def test_barenblatt(power):
    """Front within a cell, profile within the grid's error, mass kept; by the default integrator."""
    count, upper = 40, 2.2
    grid = kp.Grid(count, 0.0, upper)
    width = upper / count
    fine = (np.arange(count * 50) + 0.5) * width / 50
    start, exact = (barenblatt(power, fine, t)[0].reshape(count, 50).mean(axis=1) for t in (1.0, 2.5))
    equation = kp.NonlinearDiffusion(grid, lambda u: jnp.maximum(u, 0.0) ** power)
    solution = kp.solve(equation, start, 2.5, t0=1.0, rtol=1e-4, max_steps=144)
    assert solution.stats.method == "Rosenbrock(Arnoldi)"
    profile = np.asarray(solution.value)
    assert abs(np.sum(profile - start)) < 1e-6 * np.sum(start)
    # With any integrator: LSODA at 1e-9 on the same fluxes is off by 7.9e-4, 1.8e-3 and 1.4e-3.
    assert np.sum(np.abs(profile - exact)) < {1: 1e-3, 2: 2.2e-3, 3: 1.7e-3}[power] * np.sum(exact)
    reached = grid.coordinates[0][profile > 1e-3 * profile.max()][-1]
    assert abs(reached - barenblatt(power, 0.0, 2.5)[1]) < width


# ---- in time


def by_dopri8(equation, start, end=1.0):
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(equation.vector_field), diffrax.Dopri8(), 0.0, end, 2e-3, start, max_steps=512
    )
    return solution.ys[0]


@functools.cache
def exact():
    return by_dopri8(porous_fisher(), START)


@pytest.mark.standard_promotion
def test_observed_order_in_time():
    errors, counts = [], (4, 8, 16)
    for steps in counts:
        method = kp.Rosenbrock(DENSE, step_size=1.0 / steps)
        value = kp.solve(porous_fisher(), START, 1.0, method=method, rtol=1e-11, max_steps=16).value
        errors.append(relative_error(value, exact()))
    assert -np.polyfit(np.log(counts), np.log(errors), 1)[0] == pytest.approx(4.0, abs=0.3), errors


@pytest.mark.slow
@pytest.mark.standard_promotion
def test_the_tolerance_is_met_and_diffrax_drives_it():
    solution = kp.solve(porous_fisher(), START, 1.0, method=kp.Rosenbrock(DENSE), rtol=1e-6, max_steps=100)
    assert relative_error(solution.value, exact()) < 1e-5
    bridged = diffrax.diffeqsolve(
        kd.split(porous_fisher()), kd.ExponentialRosenbrock(DENSE), 0.0, 1.0, None, START,
        stepsize_controller=diffrax.PIDController(rtol=1e-6, atol=1e-6), max_steps=64,
    )  # fmt: skip
    assert relative_error(bridged.ys[0], exact()) < 1e-5


# ---- derivatives


class Power(eqx.Module):
    """`scale u^exponent`, with leaves."""

    scale: jax.Array
    exponent: jax.Array

    def __call__(self, u):
        return self.scale * u**self.exponent


def objective(parameters, method=None):
    function, factor, rate, wall, initial = parameters
    equation = kp.NonlinearDiffusion(
        LINE,
        function,
        factor=factor,
        boundary=kp.Boundary(lower=kp.Dirichlet(wall)),
        reaction=lambda _t, _x, u: rate * u * (1.0 - u),
    )
    # Step sizes are constants to every derivative: differences are taken with steps that are.
    method = kp.Rosenbrock(DENSE, step_size=0.1) if method is None else method
    value = kp.solve(equation, initial, 0.5, method=method, rtol=1e-10, max_steps=9).value
    return jnp.vdot(jnp.asarray(np.cos(3 * X)), value)


POINT = (Power(jnp.asarray(0.1), jnp.asarray(1.5)), jnp.full(12, 1.2), jnp.asarray(2.0), jnp.asarray(0.8), START)


@pytest.mark.slow
def test_forward_mode_is_reverse_mode_and_differences(key):
    """Of the leaves of a module, a field, a closed-over rate, a wall's value, the start; in a rough direction."""
    direction = random_like(key, POINT)
    gradient = jax.jit(jax.grad(objective))(POINT)
    tangent = jax.jit(lambda p, d: jax.jvp(objective, (p,), (d,))[1])(POINT, direction)
    total = sum(jnp.vdot(a, b) for a, b in zip(*map(jax.tree.leaves, (gradient, direction)), strict=True))
    np.testing.assert_allclose(tangent, total, rtol=1e-9)
    value = jax.jit(objective)
    low, high = (value(jax.tree.map(lambda p, d, h=h: p + h * d, POINT, direction)) for h in (-1e-4, 1e-4))
    np.testing.assert_allclose(tangent, (high - low) / 2e-4, rtol=1e-4)
    assert all(np.any(np.asarray(leaf) != 0) for leaf in jax.tree.leaves(gradient))


@pytest.mark.slow
def test_taylor_of_the_default(key):
    """The same through Arnoldi's spaces and the two-sided adjoint."""
    method = kp.Rosenbrock(step_size=0.1)
    report = kp.verify.taylor_test(functools.partial(objective, method=method), POINT, key=key)
    assert report.passed, report


@pytest.mark.slow
def test_batches_and_second_derivatives():
    rates = jnp.array([1.0, 3.0])
    alone = [objective((*POINT[:2], rate, *POINT[3:])) for rate in rates]
    batch = jax.vmap(lambda rate: objective((*POINT[:2], rate, *POINT[3:])))(rates)
    np.testing.assert_allclose(batch, jnp.stack(alone), rtol=1e-8)
    slope = jax.jit(jax.grad(lambda rate: objective((*POINT[:2], rate, *POINT[3:]))))
    second = jax.jit(jax.jvp, static_argnums=0)(slope, (rates[0],), (jnp.ones(()),))[1]
    difference = (slope(rates[0] + 1e-4) - slope(rates[0] - 1e-4)) / 2e-4
    np.testing.assert_allclose(second, difference, rtol=1e-4)


@pytest.mark.bad_input
def test_what_does_not_fit_is_refused():
    with pytest.raises(TypeError, match=r"use krylovpde\.Diffusion"):
        kp.NonlinearDiffusion(LINE, 3.0)
    with pytest.raises(TypeError, match="function of"):
        kp.NonlinearDiffusion(LINE, lambda u: u, reaction=2.0)
    with pytest.raises(ValueError, match="factor"):
        kp.NonlinearDiffusion(LINE, lambda u: u, factor=-1.0)
    with pytest.raises(ValueError, match="linear"):
        kp.steady_state(porous_fisher())


def test_every_other_equation_is_served_as_before():
    assert not AbstractEquation.quasilinear
    assert kp.NonlinearDiffusion.quasilinear
