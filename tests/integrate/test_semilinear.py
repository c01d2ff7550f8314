"""Semilinear equations: orders, tolerances, derivatives in both modes, failures."""

import functools

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import krylovpde as kp
from examples.against_diffrax.semilinear import problems

GRID = kp.Grid((16,), (0.0,), (1.0,))
X = GRID.coordinates[0]
START = jnp.asarray(0.4 + 0.2 * np.sin(2 * np.pi * X))
INTEGRATORS = {"ETDRK2": kp.ETDRK2, "ETDRK4": kp.ETDRK4, "Rosenbrock": kp.Rosenbrock, "Strang": kp.Strang}
ORDERS = {"ETDRK2": 2, "ETDRK4": 4, "Rosenbrock": 4, "Strang": 2}


def fisher(diffusivity=0.02, rate=4.0, boundary=None):
    boundary = kp.Periodic() if boundary is None else boundary
    return kp.ReactionDiffusion(GRID, diffusivity, lambda _t, _x, u: rate * u * (1.0 - u), boundary=boundary)


def allen_cahn():
    """Driven in time, too: the third argument of every rule."""
    wave = jnp.asarray(np.cos(2 * np.pi * X))

    def reaction(t, u):
        return 3.0 * (u - u**3) + jnp.sin(5.0 * t).astype(u.dtype) * wave

    return kp.Semilinear(0.02 * kp.Laplacian(GRID, kp.Periodic()), reaction)


def gray_scott():
    def reaction(_t, _x, state):
        u, v = state["u"], state["v"]
        return {"u": -u * v**2 + 0.5 * (1.0 - u), "v": u * v**2 - 0.6 * v}

    return kp.ReactionDiffusion(GRID, {"u": 0.02, "v": 0.01}, reaction, boundary=kp.Periodic())


EQUATIONS = {
    "Fisher": (fisher, START),
    "Allen-Cahn": (allen_cahn, START),
    "Gray-Scott": (gray_scott, {"u": 1.0 - 0.5 * START, "v": 0.5 * START}),
}


# Every equation with the default, every integrator with one equation; the rest takes long to compile.
PAIRS = [
    (name, equation)
    if name == "ETDRK4" or equation == "Fisher"
    else pytest.param(name, equation, marks=pytest.mark.slow)
    for name in INTEGRATORS
    for equation in EQUATIONS
]


@functools.cache
def exact(name: str):
    make, initial = EQUATIONS[name]
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(make().vector_field), diffrax.Dopri8(), 0.0, 1.0, 2e-3, initial, max_steps=512
    )
    return jax.tree_util.tree_map(lambda leaf: leaf[0], solution.ys)


def distance(value, reference) -> float:
    first, second = (jnp.concatenate(jax.tree_util.tree_leaves(tree)) for tree in (value, reference))
    return float(jnp.linalg.norm(first - second) / jnp.linalg.norm(second))


@pytest.mark.standard_promotion
@pytest.mark.parametrize(("name", "equation"), PAIRS)
def test_observed_order(name, equation):
    make, initial = EQUATIONS[equation]
    problem, counts, errors = make(), (16, 32, 64), []
    for steps in counts:
        method = INTEGRATORS[name](step_size=1.0 / steps)
        solution = kp.solve(problem, initial, 1.0, method=method, rtol=1e-11, max_steps=64)
        assert solution.stats.num_steps == steps
        errors.append(distance(solution.value, exact(equation)))
    order = -np.polyfit(np.log(counts), np.log(errors), 1)[0]
    assert order == pytest.approx(ORDERS[name], abs=0.2), errors


@pytest.mark.standard_promotion
@pytest.mark.parametrize(
    ("name", "rtol"),
    [
        ("ETDRK4", 1e-7),
        ("Rosenbrock", 1e-6),
        *(pytest.param(name, 1e-3, marks=pytest.mark.slow) for name in ("ETDRK2", "ETDRK4")),
    ],
)
def test_the_tolerance_is_met(name, rtol):
    solution = kp.solve(fisher(), START, 1.0, method=INTEGRATORS[name](), rtol=rtol, max_steps=900)
    error = distance(solution.value, exact("Fisher"))
    assert error < 3 * rtol
    assert solution.stats.error_estimate <= 1.001 * rtol


@pytest.mark.slow
@pytest.mark.standard_promotion
@pytest.mark.parametrize("name", problems.PROBLEMS)
def test_the_tolerance_is_met_elsewhere(name):
    """Two dimensions, two species, a shock, and fourth order until before chaos amplifies: within ten times of it.

    Modes of Kuramoto and Sivashinsky's equation grow like exp(t/4), and errors with them: 18 times the tolerance at 15.
    """
    case = problems.PROBLEMS[name](16)
    end = 5.0 if name == "Kuramoto-Sivashinsky" else case.end
    equation = case.equation(jnp.ones(2))
    solution = kp.solve(equation, case.initial, end, rtol=1e-5, max_steps=400)
    assert solution.stats.method == "ETDRK4(Chebyshev)"
    control = diffrax.PIDController(rtol=1e-10, atol=1e-10)
    term = diffrax.ODETerm(equation.vector_field)
    reference = diffrax.diffeqsolve(
        term, diffrax.Dopri8(), 0.0, end, None, case.initial, stepsize_controller=control, max_steps=16384
    ).ys
    error = distance(case.seen(solution.value), case.seen(reference))
    assert error < 1e-4


@pytest.mark.slow
def test_states_on_the_way():
    """Several times, t0, repeats, an observation; the same as one after the other."""
    times = jnp.array([0.5, 0.5, 0.9, 1.5])
    sensors = kp.Sensors(GRID, jnp.array([[0.21], [0.77]]))
    options = {"rtol": 1e-7, "max_steps": 144}
    solution = kp.solve(fisher(), START, times, t0=0.5, observe=sensors, **options)
    assert solution.value.shape == (4, 2)
    np.testing.assert_array_equal(solution.value[0], sensors.mv(START))
    np.testing.assert_array_equal(solution.value[0], solution.value[1])
    late = kp.solve(fisher(), START, 1.0, **options)
    np.testing.assert_allclose(solution.value[3], sensors.mv(late.value), rtol=1e-6)


class Neural(eqx.Module):
    network: eqx.nn.MLP

    def __call__(self, t, x, u):
        return jax.vmap(self.network)(u[:, None])[:, 0]


def objective(parameters, method, max_steps=100):
    diffusivity, reaction, initial, end = parameters
    equation = kp.ReactionDiffusion(GRID, diffusivity, reaction, boundary=kp.Periodic())
    value = kp.solve(equation, initial, end, method=method, rtol=1e-7, max_steps=max_steps).value
    return jnp.vdot(jnp.asarray(np.cos(3 * X)), value)


@pytest.mark.slow
@pytest.mark.standard_promotion
def test_gradient_of_a_neural_reaction(key):
    """Against Diffrax; with respect to diffusivity, network, initial state and end."""
    network = eqx.nn.MLP(1, 1, 8, 1, activation=jnp.tanh, key=key)
    point = (jnp.full(GRID.shape, 0.02), Neural(network), START, jnp.asarray(1.0))

    def by_diffrax(parameters):
        diffusivity, reaction, initial, end = parameters
        term = diffrax.ODETerm(kp.ReactionDiffusion(GRID, diffusivity, reaction, boundary=kp.Periodic()).vector_field)
        steps = diffrax.ConstantStepSize()
        solution = diffrax.diffeqsolve(
            term, diffrax.Dopri8(), 0.0, end, end / 256, initial, stepsize_controller=steps, max_steps=260
        )
        return jnp.vdot(jnp.asarray(np.cos(3 * X)), solution.ys[0])

    ours = eqx.filter_jit(eqx.filter_grad(lambda p: objective(p, kp.ETDRK4())))(point)
    theirs = eqx.filter_jit(eqx.filter_grad(by_diffrax))(point)
    for a, b in zip(jax.tree_util.tree_leaves(ours), jax.tree_util.tree_leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-6 * float(jnp.max(jnp.abs(b))) + 1e-9)


def rate_objective(diffusivity, rate, initial, method=None, max_steps=100):
    equation = fisher(diffusivity, rate)
    value = kp.solve(equation, initial, 0.7, method=method, rtol=1e-7, max_steps=max_steps).value
    return jnp.vdot(jnp.asarray(np.cos(3 * X)), value)


@pytest.mark.slow
def test_forward_mode_is_reverse_mode():
    """Of the parameters that a plain function closes over; and second derivatives exist."""
    point = (jnp.full(GRID.shape, 0.02), jnp.asarray(4.0), START)
    directions = jax.tree_util.tree_map(jnp.ones_like, point)
    gradient = jax.jit(jax.grad(rate_objective, argnums=(0, 1, 2)))(*point)
    tangent = jax.jit(lambda p, d: jax.jvp(rate_objective, p, d)[1])(point, directions)
    total = sum(jnp.sum(part) for part in gradient)
    np.testing.assert_allclose(tangent, total, rtol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("name", INTEGRATORS)
def test_taylor(name, key):
    point = (jnp.full(GRID.shape, 0.02), jnp.asarray(4.0), START)
    method = INTEGRATORS[name](step_size=0.05)
    report = kp.verify.taylor_test(lambda p: rate_objective(*p, method=method), point, key=key)
    assert report.passed, report


@pytest.mark.slow
def test_checkpoints_do_not_change_the_gradient():
    gradient = jax.jit(jax.grad(rate_objective), static_argnames="max_steps")
    few, many = (gradient(jnp.asarray(0.02), 4.0, START, max_steps=count) for count in (60, 500))
    np.testing.assert_allclose(few, many, rtol=1e-12)


@pytest.mark.slow
def test_a_batch_is_its_lanes():
    rates = jnp.array([1.0, 4.0, 9.0])
    batch = jax.jit(jax.vmap(lambda rate: rate_objective(0.02, rate, START)))(rates)
    single = [rate_objective(0.02, rate, START) for rate in rates]
    np.testing.assert_allclose(batch, jnp.stack(single), rtol=1e-9)


def test_single_precision():
    start = START.astype(jnp.float32)
    solution = kp.solve(fisher(jnp.float32(0.02), jnp.float32(4.0)), start, 1.0, max_steps=100)
    assert solution.value.dtype == jnp.float32
    assert distance(solution.value.astype(float), exact("Fisher")) < 3e-4


@pytest.mark.slow
def test_stiff_diffusion_costs_no_steps():
    """The linear part is exact: a thousand times the diffusivity takes no more steps than the reaction asks for."""
    slow, fast = (kp.solve(fisher(d), START, 1.0, rtol=1e-5, max_steps=100).stats.num_steps for d in (0.02, 20.0))
    assert fast <= slow + 2


@pytest.mark.slow
def test_what_fails_is_told():
    late = kp.solve(fisher(), START, 1.0, rtol=1e-9, max_steps=2, throw=False)
    assert late.result == kp.RESULTS.max_steps_reached
    assert jnp.all(jnp.isnan(late.value))
    with pytest.raises(eqx.EquinoxRuntimeError, match="max_steps"):
        kp.solve(fisher(), START, 1.0, rtol=1e-9, max_steps=2)
    explodes = kp.Semilinear(0.01 * kp.Laplacian(GRID), lambda _t, u: u**2)
    blown = kp.solve(explodes, 2.0 + START, 5.0, rtol=1e-4, max_steps=400, throw=False)
    assert blown.result != kp.RESULTS.successful
    broken = kp.solve(fisher(), START.at[0].set(jnp.nan), 1.0, max_steps=9, throw=False)
    assert broken.result == kp.RESULTS.nonfinite


@pytest.mark.bad_input
def test_what_does_not_fit_is_refused():
    with pytest.raises(TypeError, match="An action goes inside"):
        kp.solve(fisher(), START, 1.0, method=kp.Chebyshev())
    with pytest.raises(TypeError, match="function of"):
        kp.Semilinear(kp.Laplacian(GRID), 3.0)
    with pytest.raises(TypeError, match="function of"):
        kp.ReactionDiffusion(GRID, 1.0, None)
    with pytest.raises(ValueError, match="positive"):
        kp.ETDRK4(step_size=-1.0)
    with pytest.raises(ValueError, match="like `diffusivity`"):
        kp.ReactionDiffusion(GRID, {"u": 1.0, "v": 1.0}, lambda _t, _x, u: u, source=3.0)
    wave = kp.Wave(GRID, 1.0)
    with pytest.raises(ValueError, match="first order"):
        kp.solve(wave, kp.WaveState(START, START), 1.0, method=kp.ETDRK4())
