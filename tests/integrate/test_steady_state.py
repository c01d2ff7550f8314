"""Steady states: against dense solves, as limits of the evolution, their derivatives."""

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

import krylovpde as kp
from tests.helpers import variants

PLANE = kp.Grid((7, 6), (0.0, 0.0), (1.0, 1.0))
LINE = kp.Grid((12,), (0.0,), (1.0,))
RING = kp.RadialGrid(np.geomspace(0.1, 10.0, 13))
RNG = np.random.default_rng(3)
KAPPA = 1.0 + RNG.random(PLANE.shape)
HELD = kp.Boundary(lower=(kp.Dirichlet(1.0), kp.Neumann(0.3)), upper=(kp.Dirichlet(2.0), kp.Neumann()))

EQUATIONS = {
    "plane": lambda: kp.Diffusion(PLANE, KAPPA, boundary=HELD, capacity=KAPPA**2, source=0.5),
    "line": lambda: kp.Diffusion(LINE, 2.0, boundary=kp.Dirichlet(1.0), source=3.0),
    "ring": lambda: kp.Diffusion(RING, 2.0, reaction_rate=-0.1, source=1.0),
    "wind": lambda: kp.AdvectionDiffusion(PLANE, KAPPA, (2.0, -1.0), boundary=HELD, source=1.0),
    "matrix": lambda: kp.Linear(lx.MatrixLinearOperator(jnp.asarray([[-2.0, 0.5], [0.1, -1.0]])), jnp.ones(2)),
}


@pytest.mark.parametrize("name", variants(EQUATIONS, quick=["ring", "matrix"]))
def test_nothing_moves_there(name):
    equation = EQUATIONS[name]()
    rest = kp.steady_state(equation, rtol=1e-10)
    matrix = np.asarray(equation.operator().as_matrix())
    exact = np.linalg.solve(matrix, -np.asarray(equation.forcing()).reshape(-1))
    np.testing.assert_allclose(rest.reshape(-1), exact, rtol=1e-7)


@pytest.mark.slow
def test_right_hand_sides_that_are_zero_somewhere():
    """Boundary values without a source, and in reverse mode a single sensor: nothing converges by dividing by zero."""
    sensors = kp.Sensors(PLANE, [[0.4, 0.7]])

    def head(kappa, solve):
        return sensors(solve(kp.Diffusion(PLANE, kappa, boundary=(kp.Dirichlet(1.0), kp.Dirichlet()))))[0]

    def exact(equation):
        return jnp.linalg.solve(equation.operator().as_matrix(), -equation.forcing().reshape(-1)).reshape(PLANE.shape)

    def iterated(equation):
        return kp.steady_state(equation, rtol=1e-10)

    value, gradient = jax.value_and_grad(head)(jnp.asarray(KAPPA), iterated)
    reference, expected = jax.value_and_grad(head)(jnp.asarray(KAPPA), exact)
    np.testing.assert_allclose(value, reference, rtol=1e-9)
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-10)


def test_it_is_the_limit():
    equation = EQUATIONS["line"]()
    late = kp.solve(equation, jnp.zeros(LINE.shape), 5.0, rtol=1e-8).value
    np.testing.assert_allclose(late, kp.steady_state(equation), rtol=1e-6)


def height(kappa, value):
    held = kp.Boundary(lower=(kp.Dirichlet(value), kp.Neumann()), upper=(kp.Dirichlet(0.0), kp.Neumann()))
    equation = kp.Diffusion(PLANE, kappa, boundary=held, capacity=kappa, source=1.0)
    return jnp.vdot(jnp.asarray(RNG_WEIGHTS), kp.steady_state(equation, rtol=1e-12))


RNG_WEIGHTS = np.random.default_rng(5).standard_normal(PLANE.shape)


def test_derivatives(key):
    point = (jnp.asarray(KAPPA), jnp.asarray(1.5))
    report = kp.verify.taylor_test(lambda p: height(*p), point, key=key)
    assert report.passed, report
    gradient = jax.jit(jax.grad(height, argnums=(0, 1)))(*point)
    tangent = jax.jit(lambda p, d: jax.jvp(height, p, d)[1])(point, gradient)
    np.testing.assert_allclose(tangent, sum(jnp.vdot(part, part) for part in gradient), rtol=1e-8)


def test_a_closed_box_is_refused():
    with pytest.raises(eqx.EquinoxRuntimeError, match="every constant"):
        kp.steady_state(kp.Diffusion(PLANE, KAPPA, source=1.0))


@pytest.mark.bad_input
def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="first order"):
        kp.steady_state(kp.Wave(LINE, 1.0))
    with pytest.raises(TypeError, match="AbstractEquation"):
        kp.steady_state(kp.Laplacian(LINE))
    driven = kp.Diffusion(LINE, 1.0, boundary=kp.Dirichlet(), source=kp.Source(jnp.ones(LINE.shape), jnp.sin))
    with pytest.raises(ValueError, match="vary in time"):
        kp.steady_state(driven)
