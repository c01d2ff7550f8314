"""Operators that depend on time: order, tolerance, structure, derivatives in both modes, refusals."""

import functools

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

import krylovpde as kp
from krylovpde.operator import affine_combination
from tests.helpers import random_like, relative_error, variants

GRID = kp.Grid((12,), (-5.0,), (5.0,))
X = np.asarray(GRID.coordinates[0])
START = jnp.asarray(np.exp(-0.5 * (X - 1.0) ** 2 + 0.5j * X))
COTANGENT = jnp.asarray(np.cos(3 * X) + 1j * np.sin(2 * X))
END = 1.5


class Laser(eqx.Module):
    """An oscillator in a field that oscillates, too."""

    amplitude: jax.Array
    frequency: jax.Array

    def __call__(self, t):
        return jnp.asarray(0.5 * X**2) + self.amplitude * jnp.sin(self.frequency * t) * jnp.asarray(X)


class Breathing(kp.AbstractEquation):
    """`u_t = div(d(t) grad u) + w(t) source`, with walls: a diffusivity that varies in space and time."""

    diffusivity: jax.Array
    rate: jax.Array

    def operator(self):
        return self._at(1.0)

    def operator_at(self, t):
        return self._at(1.0 + 0.5 * jnp.sin(self.rate * t) * jnp.asarray(np.tanh(X)))

    def _at(self, factor):
        return kp.Diffusion(GRID, self.diffusivity * factor, boundary=kp.Boundary(lower=kp.Dirichlet())).operator()

    def forcing(self):
        return jnp.asarray(np.exp(-(X**2)))

    def driving(self):
        source = kp.Source(1.0, lambda t: jnp.cos(4.0 * t))
        return ((jnp.asarray(np.sin(X)), source.signal),)


EQUATIONS = {
    "function": (lambda: kp.Schrodinger(GRID, Laser(jnp.asarray(1.3), jnp.asarray(2.0))), START),
    "sources": (
        lambda: kp.Schrodinger(
            GRID,
            [0.5 * X**2, kp.Source(jnp.asarray(X), lambda t: 1.3 * jnp.sin(2.0 * t))],
            boundary=kp.Dirichlet(),
        ),
        START,
    ),
    "diffusion": (lambda: Breathing(jnp.full(GRID.shape, 0.8), jnp.asarray(3.0)), jnp.real(START)),
}
# One length of the cosine transform instead of two: less to compile.
ACTION = kp.Chebyshev(max_degree=256)
METHOD = kp.Magnus4(ACTION)


def by_diffrax(equation, initial, end, steps=256):
    """In real and imaginary parts: Diffrax warns of complex states."""

    def rate(t, parts, args):
        state = jax.lax.complex(*parts) if jnp.iscomplexobj(initial) else parts[0]
        value = equation.vector_field(t, state, args)
        return jnp.real(value), jnp.imag(value)

    initial = jnp.asarray(initial)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(rate),
        diffrax.Dopri8(),
        0.0,
        end,
        end / steps,
        (jnp.real(initial), jnp.imag(initial)),
        stepsize_controller=diffrax.ConstantStepSize(),
        max_steps=steps + 4,
    )
    assert solution.ys is not None
    real, imaginary = (part[0] for part in solution.ys)
    return jax.lax.complex(real, imaginary) if jnp.iscomplexobj(initial) else real


@functools.cache
def reference(name):
    make, initial = EQUATIONS[name]
    return jax.jit(lambda: by_diffrax(make(), initial, END))()


@pytest.mark.standard_promotion
@pytest.mark.parametrize(
    "name", [name if name == "function" else pytest.param(name, marks=pytest.mark.slow) for name in EQUATIONS]
)
def test_observed_order(name):
    make, initial = EQUATIONS[name]
    equation, counts, errors = make(), (4, 8, 16), []
    for steps in counts:
        method = kp.Magnus4(ACTION, step_size=END / steps)
        solution = kp.solve(equation, initial, END, method=method, rtol=1e-12, max_steps=64)
        assert solution.stats.num_steps == steps
        assert solution.stats.method == "Magnus4(Chebyshev)"
        errors.append(relative_error(solution.value, reference(name)))
    order = -np.polyfit(np.log(counts), np.log(errors), 1)[0]
    assert order == pytest.approx(4.0, abs=0.2), errors


TIGHT = [("function", 1e-4), ("function", 1e-8), ("diffusion", 1e-6)]


@pytest.mark.standard_promotion
@pytest.mark.parametrize(("name", "rtol"), variants(TIGHT, slow=[("function", 1e-4)]))
def test_the_tolerance_is_met(name, rtol):
    make, initial = EQUATIONS[name]
    solution = kp.solve(make(), initial, END, rtol=rtol, max_steps=400)
    assert solution.stats.method.startswith("Magnus4")
    assert relative_error(solution.value, reference(name)) < 2 * rtol
    assert solution.stats.error_estimate <= 1.001 * rtol


def test_lanczos_keeps_the_norm_at_any_tolerance():
    equation = EQUATIONS["function"][0]()
    times = jnp.array([0.5, END, 4.0])
    method = kp.Magnus4(kp.Lanczos())
    solution = kp.solve(equation, START, times, method=method, rtol=1e-2, max_steps=64)
    assert solution.stats.method == "Magnus4(Lanczos)"
    for value in solution.value:
        assert float(GRID.norm(value)) == pytest.approx(float(GRID.norm(START)), rel=1e-13)


@pytest.mark.slow
def test_states_on_the_way():
    """From a later start, several times, sensors: as one after the other."""
    equation = EQUATIONS["function"][0]()
    sensors = kp.Sensors(GRID, jnp.array([[0.3], [1.7]]))
    times = jnp.array([0.4, 0.4, 0.9, END])
    options = {"rtol": 1e-9, "max_steps": 64}
    solution = kp.solve(equation, START, times, t0=0.4, observe=sensors, **options)
    np.testing.assert_array_equal(solution.value[0], sensors.mv(START))
    first = kp.solve(equation, START, 0.9, t0=0.4, **options).value
    second = kp.solve(equation, first, END, t0=0.9, **options).value
    np.testing.assert_allclose(solution.value[2], sensors.mv(first), atol=1e-8)
    np.testing.assert_allclose(solution.value[3], sensors.mv(second), atol=1e-8)


@pytest.mark.slow
def test_a_potential_that_does_not_move_is_no_matter_of_steps():
    equation = kp.Schrodinger(GRID, [0.5 * X**2, 1.0])
    assert equation.operator_at(0.3) is None
    assert kp.solve(equation, START, END).stats.method == "Chebyshev"
    stepped = kp.solve(equation, START, END, method=kp.Magnus4(ACTION), rtol=1e-9, max_steps=9)
    assert stepped.stats.num_steps == 1
    assert relative_error(stepped.value, kp.solve(equation, START, END, rtol=1e-9).value) < 1e-8


# ---- derivatives


def objective(arguments, method=METHOD, rtol=1e-9, max_steps=100):
    laser, start, end = arguments
    value = kp.solve(kp.Schrodinger(GRID, laser), start, end, method=method, rtol=rtol, max_steps=max_steps).value
    return jnp.real(jnp.sum(COTANGENT.astype(value.dtype) * value)) + jnp.sum(jnp.abs(value) ** 4)


POINT = (Laser(jnp.asarray(1.3), jnp.asarray(2.0)), START, jnp.asarray(END))


@pytest.mark.standard_promotion
def test_gradient_of_control_parameters():
    """Against Diffrax: amplitude and frequency of the field, initial state, end."""

    def theirs(arguments):
        laser, start, end = arguments
        value = by_diffrax(kp.Schrodinger(GRID, laser), start, end)
        return jnp.real(jnp.sum(COTANGENT * value)) + jnp.sum(jnp.abs(value) ** 4)

    ours, other = (eqx.filter_jit(jax.grad(function))(POINT) for function in (objective, theirs))
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(other), strict=True):
        assert relative_error(a, b) < 1e-6


@pytest.mark.slow
@pytest.mark.standard_promotion
def test_gradient_of_a_diffusivity():
    """Real, with sources; against Diffrax, and forward mode."""
    point = Breathing(jnp.full(GRID.shape, 0.8), jnp.asarray(3.0))
    initial = EQUATIONS["diffusion"][1]

    def ours(equation):
        value = kp.solve(equation, initial, END, method=kp.Magnus4(ACTION), rtol=1e-8, max_steps=100).value
        return jnp.vdot(jnp.asarray(X), value)

    def theirs(equation):
        return jnp.vdot(jnp.asarray(X), by_diffrax(equation, initial, END))

    mine, other = (eqx.filter_jit(jax.grad(function))(point) for function in (ours, theirs))
    for a, b in zip(jax.tree.leaves(mine), jax.tree.leaves(other), strict=True):
        assert relative_error(a, b) < 1e-6


@pytest.mark.slow
def test_forward_mode_is_reverse_mode():
    method = kp.Magnus4(ACTION, step_size=0.3)
    function = functools.partial(objective, method=method, rtol=1e-10, max_steps=9)
    direction = random_like(jax.random.key(3), POINT)
    gradient = jax.jit(jax.grad(function))(POINT)
    tangent = jax.jit(lambda x, d: jax.jvp(function, (x,), (d,))[1])(POINT, direction)
    pairs = zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True)
    np.testing.assert_allclose(tangent, sum(jnp.real(jnp.sum(g * d)) for g, d in pairs), rtol=1e-8)


@pytest.mark.slow
def test_taylor(key):
    """Of the amplitude and the frequency, with steps that stay as they are."""
    function = functools.partial(objective, method=kp.Magnus4(ACTION, step_size=0.3), rtol=1e-11, max_steps=9)
    report = kp.verify.taylor_test(lambda laser: function((laser, *POINT[1:])), POINT[0], key=key)
    assert report.passed, report


@pytest.mark.slow
def test_what_a_function_closes_over_keeps_its_gradient():
    """A plain function in the place of a module, and a call that is not compiled as a whole."""

    def closed(amplitude):
        def potential(t):
            return jnp.asarray(0.5 * X**2) + amplitude * jnp.sin(2.0 * t) * jnp.asarray(X)

        return objective((potential, START, END), **options)

    options = {"method": kp.Magnus4(ACTION, step_size=0.5), "max_steps": 4}
    amplitude, step = jnp.asarray(1.3), 1e-4
    change = jax.jvp(closed, (amplitude,), (jnp.ones_like(amplitude),))[1]
    lasers = [Laser(amplitude + sign * step, jnp.asarray(2.0)) for sign in (1, -1)]
    high, low = (objective((laser, START, END), **options) for laser in lasers)
    assert float(change) != 0.0
    np.testing.assert_allclose(change, (high - low) / (2 * step), rtol=1e-6)


@pytest.mark.slow
def test_a_batch_is_its_lanes():
    amplitudes = jnp.array([0.1, 1.3, 4.0])

    def one(amplitude):
        return objective((Laser(amplitude, jnp.asarray(2.0)), START, END), rtol=1e-7)

    batch = jax.jit(jax.vmap(one))(amplitudes)
    np.testing.assert_allclose(batch, jnp.stack([jax.jit(one)(a) for a in amplitudes]), rtol=1e-9)


@pytest.mark.standard_promotion
def test_single_precision():
    laser = Laser(jnp.float32(1.3), jnp.float32(2.0))
    solution = kp.solve(kp.Schrodinger(GRID, laser), START.astype(jnp.complex64), END, max_steps=64)
    assert solution.value.dtype == jnp.complex64
    assert relative_error(solution.value, reference("function")) < 3e-4


# ---- averages of operators


@pytest.mark.slow
def test_averages_keep_what_is_known():
    """One stencil for stencils; two applications for operators of other kinds, with tags and intervals."""
    first, second = (kp.Schrodinger(GRID, v).operator() for v in (0.5 * X**2, np.cos(X)))
    share = jnp.asarray(-0.1)
    merged = affine_combination(first, second, share)
    assert type(merged) is type(first)
    expected = 1.1 * np.asarray(first.as_matrix()) - 0.1 * np.asarray(second.as_matrix())
    np.testing.assert_allclose(merged.as_matrix(), expected, atol=1e-12)
    known = {"tags": kp.skew_adjoint_tag, "weight": GRID.cell_volumes, "spectral_bound": 50.0}
    functions = [
        kp.annotate(lx.FunctionLinearOperator(part.mv, part.in_structure()), **known) for part in (first, second)
    ]
    general = affine_combination(*functions, share)
    assert kp.is_skew_adjoint(general)
    assert kp.verify.structure_test(general, key=jax.random.key(1)).passed
    assert kp.verify.dot_test(general, key=jax.random.key(2)).passed
    np.testing.assert_allclose(general.mv(START), expected @ np.asarray(START), atol=1e-12)
    assert float(kp.spectral_bound(general)) == pytest.approx(60.0)


@pytest.mark.bad_input
def test_what_does_not_fit_is_refused():
    equation = EQUATIONS["function"][0]()
    for method in (kp.Chebyshev(), kp.ETDRK4()):
        with pytest.raises(TypeError, match="depends on time"):
            kp.solve(equation, START, END, method=method)
    reaction = kp.Semilinear(kp.Laplacian(GRID), lambda _t, u: u)
    with pytest.raises(ValueError, match="linear equations"):
        kp.solve(reaction, jnp.real(START), END, method=kp.Magnus4())
    with pytest.raises(ValueError, match=r"Schrodinger\(potential\)\(t\)"):
        kp.solve(kp.Schrodinger(GRID, lambda _t: jnp.ones(3)), START, END)
    with pytest.raises(ValueError, match="positive"):
        kp.Magnus4(step_size=0.0)
    late = kp.solve(equation, START, END, rtol=1e-9, max_steps=2, throw=False)
    assert late.result == kp.RESULTS.max_steps_reached
