"""Our exponential integrators as Diffrax solvers, used as a Diffrax user would."""

import diffrax
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import optimistix as optx
import pytest

import krylovpde as kp
import krylovpde.diffrax as kd

GRID = kp.Grid((16,), (0.0,), (1.0,))
X = GRID.coordinates[0]
START = jnp.asarray(0.4 + 0.2 * np.sin(2 * np.pi * X))
SOLVERS = {"ETDRK2": kd.ETDRK2, "ETDRK4": kd.ETDRK4, "ExponentialRosenbrock": kd.ExponentialRosenbrock}
CONTROL = diffrax.PIDController(rtol=1e-6, atol=1e-6)

pytestmark = pytest.mark.standard_promotion


def equation(diffusivity, rate):
    return kp.ReactionDiffusion(GRID, diffusivity, lambda _t, _x, u: rate * u * (1.0 - u), boundary=kp.Periodic())


def solve(solver, diffusivity=0.02, rate=4.0, end=1.0, **options):
    options = {"stepsize_controller": CONTROL, "max_steps": 128} | options
    dt0 = options.pop("dt0", None)
    return diffrax.diffeqsolve(kd.split(equation(diffusivity, rate)), solver, 0.0, end, dt0, START, **options)


def by_dopri8(diffusivity=0.02, rate=4.0):
    term = diffrax.ODETerm(equation(diffusivity, rate).vector_field)
    return diffrax.diffeqsolve(term, diffrax.Dopri8(), 0.0, 1.0, 4e-3, START, max_steps=256).ys[0]


@pytest.mark.parametrize(
    "name", [name if name == "ETDRK4" else pytest.param(name, marks=pytest.mark.slow) for name in SOLVERS]
)
def test_under_a_controller(name):
    solution = solve(SOLVERS[name]())
    np.testing.assert_allclose(solution.ys[0], by_dopri8(), atol=1e-4 if name == "ETDRK2" else 1e-5)
    assert solution.stats["num_steps"] < (100 if name == "ETDRK2" else 50)


@pytest.mark.slow
def test_observed_order_of_exponential_euler():
    errors = []
    for steps in (16, 32, 64):
        solution = solve(kd.ExponentialEuler(), stepsize_controller=diffrax.ConstantStepSize(), dt0=1.0 / steps)
        errors.append(float(jnp.linalg.norm(solution.ys[0] - by_dopri8())))
    assert -np.polyfit(np.log([16, 32, 64]), np.log(errors), 1)[0] == pytest.approx(1.0, abs=0.2)


@pytest.mark.slow
def test_dense_output_and_saved_times():
    times = jnp.linspace(0.0, 1.0, 6)
    solution = solve(kd.ETDRK4(), saveat=diffrax.SaveAt(ts=times, dense=True))
    direct = kp.solve(equation(0.02, 4.0), START, times[3], rtol=1e-8, max_steps=144).value
    np.testing.assert_allclose(solution.ys[3], direct, atol=1e-4)
    np.testing.assert_allclose(solution.evaluate(times[3]), solution.ys[3], atol=1e-12)


@pytest.mark.slow
def test_an_event_ends_it():
    """Within a step, where a root finder says so: on the third-order interpolation."""

    def grown(t, y, args, **_):
        del t, args  # Diffrax names what it gives
        return jnp.mean(y) - 0.8

    event = diffrax.Event(grown, root_finder=optx.Newton(rtol=1e-8, atol=1e-8))
    solution = solve(kd.ETDRK4(), event=event, end=5.0)
    assert solution.result == diffrax.RESULTS.event_occurred
    assert 0.1 < float(solution.ts[0]) < 2.0
    assert float(jnp.mean(solution.ys[0])) == pytest.approx(0.8, abs=1e-6)
    there = kp.solve(equation(0.02, 4.0), START, solution.ts[0], rtol=1e-8, max_steps=144).value
    assert float(jnp.mean(there)) == pytest.approx(0.8, abs=1e-4)


@pytest.mark.slow
def test_dense_output_is_of_fourth_order():
    """A cubic through values and rates at both ends: an error of h⁴ between the steps."""
    points = jnp.asarray([1.0, 3.0, 5.0]) / 6.0  # in the middle of a step, for any odd multiple of three steps
    exact = kp.solve(equation(0.02, 4.0), START, points, rtol=1e-10, max_steps=144).value
    errors = []
    for steps in (3, 9, 27):
        options = {"stepsize_controller": diffrax.ConstantStepSize(), "dt0": 1.0 / steps}
        solution = solve(kd.ETDRK4(), saveat=diffrax.SaveAt(dense=True), **options)
        errors.append(float(jnp.linalg.norm(jax.vmap(solution.evaluate)(points) - exact)))
    assert -np.polyfit(np.log([3, 9, 27]), np.log(errors), 1)[0] == pytest.approx(4.0, abs=0.5)


@pytest.mark.slow
def test_what_is_saved_and_shown(capfd):
    """`SaveAt(steps, fn)`, a controller that steps to given times, a progress meter; all in one program."""
    control = diffrax.ClipStepSizeController(CONTROL, step_ts=jnp.asarray([0.3]))
    saved = diffrax.SaveAt(steps=True, fn=lambda t, y, _args: (t, jnp.mean(y)))
    meter = diffrax.TextProgressMeter(minimum_increase=0.4)
    solution = solve(kd.ETDRK4(), saveat=saved, stepsize_controller=control, progress_meter=meter)
    times, means = jax.tree.leaves(solution.ys)
    taken = int(solution.stats["num_accepted_steps"])
    assert np.isinf(times[taken:]).all()
    assert np.any(np.asarray(times[:taken]) == 0.3)
    assert times[taken - 1] == 1.0
    assert np.all(np.diff(means[:taken]) > 0)
    jax.effects_barrier()
    assert "100.00%" in capfd.readouterr().out


@pytest.mark.slow
def test_batches_of_problems():
    """`vmap` over parameters, the gradient of a batch: each lane as if alone."""

    def end(rate):
        return jnp.mean(solve(kd.ETDRK2(), 0.02, rate, stepsize_controller=CONTROL).ys[0])

    def exact(rate):
        return jnp.mean(by_dopri8(rate=rate))

    rates = jnp.asarray([1.0, 4.0])
    values, slopes = jax.jit(jax.vmap(jax.value_and_grad(end)))(rates)
    expected, wanted = jax.jit(jax.vmap(jax.value_and_grad(exact)))(rates)
    np.testing.assert_allclose(values, expected, atol=1e-4)
    np.testing.assert_allclose(slopes, wanted, rtol=1e-3)


@pytest.mark.slow
def test_implicit_adjoint_of_a_state_of_rest():
    """`ImplicitAdjoint` differentiates the state that `steady_state_event` finds, in `args`: it allows no closure."""
    matrix = lx.MatrixLinearOperator(-2.0 * jnp.eye(2))

    def rest(rate):
        terms = diffrax.MultiTerm(kd.LinearTerm(matrix), diffrax.ODETerm(lambda _t, y, rate: rate - 0.1 * y**3))
        settled = diffrax.Event(diffrax.steady_state_event(rtol=1e-8, atol=1e-8))
        options = {"adjoint": diffrax.ImplicitAdjoint(), "event": settled, "stepsize_controller": CONTROL}
        return diffrax.diffeqsolve(terms, kd.ETDRK4(), 0.0, 200.0, None, jnp.ones(2), rate, **options).ys[0][0]

    value, slope = jax.value_and_grad(rest)(jnp.asarray(1.0))
    assert 2.0 * value + 0.1 * value**3 == pytest.approx(1.0, abs=1e-6)
    assert slope == pytest.approx(float(1.0 / (2.0 + 0.3 * value**2)), rel=1e-4)


def objective(parameters, solver, adjoint):
    value = solve(solver, *parameters, adjoint=adjoint).ys[0]
    return jnp.vdot(jnp.asarray(np.cos(3 * X)), value)


@pytest.mark.slow
@pytest.mark.parametrize(
    "adjoint",
    [
        diffrax.RecursiveCheckpointAdjoint(),
        diffrax.DirectAdjoint(),
        diffrax.ForwardMode(),
    ],
    ids=lambda adjoint: type(adjoint).__name__,
)
def test_gradients(adjoint):
    point = (jnp.asarray(0.02), jnp.asarray(4.0))
    derivative = jax.jacfwd if isinstance(adjoint, diffrax.ForwardMode) else jax.grad
    ours = jax.jit(derivative(lambda p: objective(p, kd.ETDRK4(), adjoint)))(point)
    theirs = jax.jit(jax.grad(lambda p: jnp.vdot(jnp.asarray(np.cos(3 * X)), by_dopri8(*p))))(point)
    np.testing.assert_allclose(jnp.stack(ours), jnp.stack(theirs), rtol=2e-5)


@pytest.mark.slow
def test_backwards_in_time():
    """Diffrax turns time around by itself; a skew-adjoint operator can be followed both ways."""
    matrix = lx.MatrixLinearOperator(jnp.array([[0.0, 2.0], [-2.0, 0.0]]))
    terms = diffrax.MultiTerm(kd.LinearTerm(matrix), diffrax.ODETerm(lambda _t, y, _args: 0.1 * y))
    start = jnp.array([1.0, 0.0])
    solution = diffrax.diffeqsolve(terms, kd.ETDRK4(), 1.0, 0.0, -0.05, start, max_steps=32)
    exact = np.exp(-0.1) * np.array([np.cos(2.0), np.sin(2.0)])
    np.testing.assert_allclose(solution.ys[0], exact, atol=1e-6)


@pytest.mark.bad_input
def _end_by_backsolve(start):
    # Parameters that the terms close over get as far as JAX's own error.
    terms, adjoint = kd.split(equation(0.02, 4.0)), diffrax.BacksolveAdjoint()
    return jnp.sum(diffrax.diffeqsolve(terms, kd.ETDRK2(), 0.0, 0.5, 0.1, start, adjoint=adjoint).ys[0])


def test_what_does_not_fit_is_refused():
    with pytest.raises(TypeError, match="LinearOperator"):
        kd.LinearTerm(jnp.eye(3))
    with pytest.raises(ValueError, match="second order"):
        kd.split(kp.Wave(GRID, 1.0))
    with pytest.raises(ValueError, match="RecursiveCheckpointAdjoint"):
        jax.grad(_end_by_backsolve)(START)
    with pytest.raises(ValueError, match=r"MultiTerm\(LinearTerm.*got ODETerm"):
        diffrax.diffeqsolve(diffrax.ODETerm(lambda _t, y, _a: -y), kd.ETDRK4(), 0.0, 1.0, 0.1, START)


@pytest.mark.slow
def test_jumps_are_told_to_the_controller():
    """`jump_ts=equation.breakpoints`: steps end before and begin after each of them."""
    source = kp.Source(1.0, kp.Piecewise([0.3, 0.55], [0.0, 8.0, lambda t: -3.0 * t]))
    driven = kp.Diffusion(GRID, 0.02, source=source)
    control = diffrax.ClipStepSizeController(CONTROL, jump_ts=driven.breakpoints)
    options = {"stepsize_controller": control, "max_steps": 64}
    solution = diffrax.diffeqsolve(kd.split(driven), kd.ETDRK4(), 0.0, 1.0, None, START, **options)
    np.testing.assert_allclose(solution.ys[0], kp.solve(driven, START, 1.0, rtol=1e-9).value, rtol=1e-7)
    assert solution.stats["num_steps"] < 20
