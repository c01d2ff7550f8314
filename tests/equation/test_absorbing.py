"""Waves that leave: what comes back, values against dense exponentials, every kind of derivative, what is refused."""

import functools

import diffrax
import jax
import jax.flatten_util as jfu
import jax.numpy as jnp
import numpy as np
import pytest

import krylovpde as kp
from tests.helpers import random_like, relative_error

RNG = np.random.default_rng(17)
# One length of the transform instead of three: less to compile.
METHOD = kp.Faber(max_degree=512)
GRID = kp.Grid((7, 6), (0.0, 0.0), (7.0, 6.0))
BOUNDARY = kp.Boundary(lower=(kp.Absorbing(3), kp.Dirichlet()), upper=(kp.Absorbing(2), kp.Absorbing(2)))
TIMES = jnp.asarray([0.0, 3.0, 8.0])
START = kp.WaveState(*(jnp.asarray(RNG.standard_normal(GRID.shape)) for _ in range(2)))


def _parameters():
    """Speed, density, damping, source, initial state."""
    fields = [jnp.asarray(RNG.uniform(0.5, 1.0, GRID.shape)) for _ in range(3)]
    return (*fields, jnp.asarray(RNG.standard_normal(GRID.shape)), START)


PARAMETERS = _parameters()


def _equation(parameters):
    speed, density, damping, source, _ = parameters
    return kp.Wave(GRID, speed, density=density, damping=damping, source=source, boundary=BOUNDARY)


def _solve(parameters, **options):
    options = {"rtol": 1e-8, "method": METHOD, **options}
    return kp.solve(_equation(parameters), parameters[-1], TIMES, **options)


def _exact(parameters, time):
    """One exponential of the dense matrix, the source in a further column; differentiable."""
    form = _equation(parameters).first_order_form()
    flat, unravel = jfu.ravel_pytree(form.extended(parameters[-1]))
    body = form.operator().as_matrix()
    column = jfu.ravel_pytree(form.forcing())[0]
    generator = jnp.pad(jnp.concatenate([body, column[:, None]], axis=1), ((0, 1), (0, 0)))
    end = jax.scipy.linalg.expm(time * generator) @ jnp.append(flat, 1.0)
    state = unravel(end[:-1])
    return kp.WaveState(state.displacement, state.velocity)


@pytest.mark.slow
def test_values_are_those_of_the_dense_exponential():
    solution = _solve(PARAMETERS)
    assert (solution.stats.method, solution.stats.adjoint) == ("Faber", "CheckpointedAdjoint")
    assert isinstance(solution.value, kp.WaveState)
    exact = jax.jit(_exact)
    for index, time in enumerate(TIMES):
        value = jax.tree.map(lambda leaf, index=index: leaf[index], solution.value)
        reference = exact(PARAMETERS, time)
        assert relative_error(value.displacement, reference.displacement) < 1e-8
        assert relative_error(value.velocity, reference.velocity) < 1e-8


@pytest.mark.slow
def test_observations_see_what_they_see_of_other_waves():
    """Sensors the displacement, operators on the whole state that, functions time and `WaveState`."""
    sensors = kp.Sensors(GRID, [[3.2, 2.9], [4.0, 3.3]])
    states = _solve(PARAMETERS).value
    seen = _solve(PARAMETERS, observe=sensors).value
    assert relative_error(seen, jax.vmap(sensors.mv)(states.displacement)) < 1e-9

    def energy(t, state):
        assert isinstance(state, kp.WaveState)
        return t * jnp.sum(state.velocity**2)

    seen = _solve(PARAMETERS, observe=energy).value
    assert relative_error(seen, TIMES * jnp.sum(states.velocity**2, axis=(1, 2))) < 1e-9


LATE = {
    "displacement": jnp.asarray(RNG.standard_normal(GRID.shape)),
    "velocity": jnp.asarray(RNG.standard_normal(GRID.shape)),
}


def _loss_of(state):
    return jnp.sum(LATE["displacement"] * state.displacement) + jnp.sum(LATE["velocity"] * jnp.sin(state.velocity))


def _loss(parameters):
    states = _solve(parameters).value
    return _loss_of(jax.tree.map(lambda leaf: leaf[-1], states))


def _exact_loss(parameters):
    return _loss_of(_exact(parameters, TIMES[-1]))


@functools.cache
def _directions():
    return random_like(jax.random.key(0), PARAMETERS)


@pytest.mark.slow
def test_gradients_reach_every_parameter():
    """Speed, density, damping, source, initial state, against the derivative of the dense exponential."""
    value, gradient = jax.jit(jax.value_and_grad(_loss))(PARAMETERS)
    exact_value, exact = jax.jit(jax.value_and_grad(_exact_loss))(PARAMETERS)
    assert value == pytest.approx(float(exact_value), rel=1e-8)
    for ours, reference in zip(jax.tree.leaves(gradient), jax.tree.leaves(exact), strict=True):
        assert relative_error(ours, reference) < 1e-7


@pytest.mark.slow
def test_forward_mode_is_the_exact_one():
    tangent = jax.jit(lambda p, d: jax.jvp(_loss, (p,), (d,))[1])(PARAMETERS, _directions())
    exact = jax.jit(lambda p, d: jax.jvp(_exact_loss, (p,), (d,))[1])(PARAMETERS, _directions())
    assert tangent == pytest.approx(float(exact), rel=1e-7)


@pytest.mark.slow
def test_second_derivatives_in_a_rough_direction():
    def product(loss):
        return jax.jit(lambda p, d: jax.jvp(jax.grad(loss), (p,), (d,))[1])(PARAMETERS, _directions())

    assert relative_error(product(_loss), product(_exact_loss)) < 1e-6


@pytest.mark.slow
def test_batches_and_single_precision():
    batch = jax.tree.map(lambda leaf: jnp.stack([leaf, 0.9 * leaf]), PARAMETERS)
    both = jax.jit(jax.vmap(jax.grad(_loss)))(batch)
    first = jax.jit(jax.grad(_loss))(PARAMETERS)
    assert relative_error(jax.tree.map(lambda leaf: leaf[0], both), first) < 1e-7
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), PARAMETERS)
    exact = jax.jit(_exact)(PARAMETERS, TIMES[-1])
    low = jax.tree.map(lambda leaf: leaf[-1], _solve(single, rtol=1e-4).value)
    assert low.velocity.dtype == jnp.float32
    for name in ("displacement", "velocity"):
        assert relative_error(getattr(low, name), getattr(exact, name)) < 1e-4


@pytest.mark.slow
@pytest.mark.standard_promotion
def test_diffrax_solves_the_same_equation():
    """Values and gradients through `vector_field` on the extended state."""

    def by_diffrax(parameters):
        equation = _equation(parameters)
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(equation.vector_field),
            diffrax.Dopri8(),
            0.0,
            TIMES[-1],
            0.1,
            equation.extended(parameters[-1]),
            stepsize_controller=diffrax.PIDController(1e-10, 1e-10),
            max_steps=512,
        )
        return _loss_of(jax.tree.map(lambda leaf: leaf[0], solution.ys))

    value, gradient = jax.jit(jax.value_and_grad(by_diffrax))(PARAMETERS)
    ours, our_gradient = jax.jit(jax.value_and_grad(_loss))(PARAMETERS)
    assert ours == pytest.approx(float(value), rel=1e-7)
    assert relative_error(our_gradient, gradient) < 1e-6


def _driven(profile, values):
    """The same source as a ramp in time, between two samples."""
    signal = kp.Sampled(jnp.asarray([0.0, 8.0]), values)
    speed, density, damping, _, start = PARAMETERS
    ramp = kp.Source(profile, signal)
    equation = kp.Wave(GRID, speed, density=density, damping=damping, source=ramp, boundary=BOUNDARY)
    return jax.tree.map(lambda leaf: leaf[-1], kp.solve(equation, start, TIMES, rtol=1e-8, method=METHOD).value)


def _exactly_driven(profile, values):
    """The ramp as two more unknowns of the dense exponential."""
    speed, density, damping, _, start = PARAMETERS
    form = kp.Wave(GRID, speed, density=density, damping=damping, boundary=BOUNDARY).first_order_form()
    flat, unravel = jfu.ravel_pytree(form.extended(start))
    column = jfu.ravel_pytree(form.extended(kp.WaveState(jnp.zeros_like(profile), profile)))[0]
    size = flat.size
    generator = jnp.zeros((size + 2, size + 2)).at[:size, :size].set(form.operator().as_matrix())
    generator = generator.at[:size, size].set(column).at[size, size + 1].set(1.0)
    slope = (values[1] - values[0]) / 8.0
    end = jax.scipy.linalg.expm(8.0 * generator) @ jnp.concatenate([flat, jnp.stack([values[0], slope])])
    state = unravel(end[:size])
    return kp.WaveState(state.displacement, state.velocity)


RAMP = (PARAMETERS[3], jnp.asarray([0.4, -1.3]))


@pytest.mark.slow
def test_sources_that_vary_in_time():
    value, exact = _driven(*RAMP), jax.jit(_exactly_driven)(*RAMP)
    assert relative_error(value.displacement, exact.displacement) < 1e-8
    assert relative_error(value.velocity, exact.velocity) < 1e-8


@pytest.mark.slow
def test_gradients_of_sources_that_vary_in_time():
    ours, exact = (
        jax.jit(jax.grad(lambda p, w, f=f: _loss_of(f(p, w)), argnums=(0, 1)))(*RAMP)
        for f in (_driven, _exactly_driven)
    )
    for mine, reference in zip(ours, exact, strict=True):
        assert relative_error(mine, reference) < 1e-6


def test_damping_alone_is_the_closed_form():
    """One mode of a box, underdamped, and overdamped where `damping > 2 ω`."""
    grid = kp.Grid(32, 0.0, 1.0)
    (x,) = grid.coordinates
    mode = jnp.sin(np.pi * jnp.asarray(x))
    omega = 2.0 * 32 * np.sin(np.pi / 64)
    times = jnp.asarray([0.3, 1.1])
    for damping in (0.8, 9.0):
        equation = kp.Wave(grid, 1.0, boundary=kp.Dirichlet(), damping=damping)
        value = kp.solve(equation, kp.WaveState(mode, 0.0 * mode), times, method=METHOD).value
        root = np.emath.sqrt(omega**2 - damping**2 / 4)
        t = np.asarray(times)
        shape = np.exp(-damping / 2 * t) * (np.cos(root * t) + damping / 2 * np.sin(root * t) / root).real
        assert relative_error(value.displacement, shape[:, None] * np.asarray(mode)) < 1e-6


# ---- what comes back


def _plane_wave(x, wavenumbers, centre, width, speed_of_phase):
    """A packet that moves along the first axis, and its rate of change by the dispersion relation of the grid."""
    kx, ky, y = wavenumbers
    far = np.arange(-2048, 2048) + 0.5
    packet = np.exp(1j * kx * far - (far / width) ** 2 / 2)
    frequencies = speed_of_phase(2 * np.pi * np.fft.fftfreq(far.size), ky)
    rate = np.fft.ifft(-1j * frequencies * np.fft.fft(packet))
    along = [
        np.interp(x - centre, far, part.real) + 1j * np.interp(x - centre, far, part.imag) for part in (packet, rate)
    ]
    return [np.real(part[:, None] * np.exp(1j * ky * y)[None, :]) for part in along]


def _frequency(accuracy, kx, ky):
    squares = [(2 * np.sin(k / 2)) ** 2 for k in (kx, ky)]
    return np.sqrt(sum(s + (s**2 / 12 if accuracy == 4 else 0) for s in squares))


def reflected_energy(angle, wavelength, width=20, cycles=2.0, accuracy=2):
    """The energy that an absorbing layer sends back, over that of a packet that comes in at an angle in degrees.

    Across the layer the domain is periodic and one transverse wavelength long. What would have been without a layer
    comes from a domain so long that nothing returns.
    """
    cells = 1 if angle == 0 else round(wavelength / np.sin(np.radians(angle)))
    ky = 0.0 if angle == 0 else 2 * np.pi / cells
    wavelength = wavelength if angle == 0 else cells * np.sin(np.radians(angle))
    kx = 2 * np.pi / wavelength * np.cos(np.radians(angle))
    size = cycles * wavelength / np.cos(np.radians(angle)) / 2.5
    inner = int(9 * size)
    time = (0.5 * inner + 2 * width + 5 * size) / np.cos(np.radians(angle))
    beyond = int(0.5 * time) + width

    def final(extra, conditions):
        count = inner + width + extra
        grid = kp.Grid((count, cells), (0.0, 0.0), (float(count), float(cells)))
        y = np.arange(cells) + 0.5
        x = np.arange(count) + 0.5
        frequency = functools.partial(_frequency, accuracy)
        state = kp.WaveState(*map(jnp.asarray, _plane_wave(x, (kx, ky, y), 0.5 * inner, size, frequency)))
        boundary = kp.Boundary(lower=(kp.Neumann(), kp.Periodic()), upper=(conditions, kp.Periodic()))
        equation = kp.Wave(grid, 1.0, boundary=boundary, accuracy=accuracy)
        value = kp.solve(equation, state, time, rtol=1e-7).value
        return jax.tree.map(lambda leaf: np.asarray(leaf)[:inner], (state, value))

    def energy(u, v):
        return np.sum(v**2) + np.sum(np.diff(u, axis=0) ** 2) + np.sum((u - np.roll(u, 1, axis=1)) ** 2)

    start, absorbed = final(0, kp.Absorbing(width))
    _, free = final(beyond, kp.Neumann())
    back = energy(absorbed.displacement - free.displacement, absorbed.velocity - free.velocity)
    return back / energy(start.displacement, start.velocity)


@pytest.mark.slow
@pytest.mark.parametrize(("angle", "bound"), [(0, 1e-5), (60, 3e-3)])
def test_twenty_cells_send_back_next_to_nothing(angle, bound):
    """Of the energy 1e-4 at normal incidence and 1e-2 at 60° are asked for; what the layer promises is below that."""
    assert 0.0 < reflected_energy(angle, 10.0) < bound


@pytest.mark.slow
@pytest.mark.parametrize(("wavelength", "bound"), [(5.0, 1e-5), (10.0, 1e-5)])
def test_so_do_layers_in_which_the_stencil_of_fourth_order_passes_into_that_of_second(wavelength, bound):
    """Also for five cells to a wavelength, where the two differ by 6 % in speed."""
    assert 0.0 < reflected_energy(0, wavelength, accuracy=4) < bound


@pytest.mark.slow
def test_a_free_surface_turns_the_wave_around_and_the_layer_lets_it_go():
    grid = kp.Grid(120, 0.0, 120.0)
    boundary = kp.Boundary(lower=kp.Dirichlet(), upper=kp.Absorbing(20))
    packet = jnp.exp(-(((jnp.asarray(grid.coordinates[0]) - 50.0) / 6.0) ** 2))
    equation = kp.Wave(grid, jnp.asarray(1.0), boundary=boundary, density=2.0)
    value = kp.solve(equation, kp.WaveState(packet, 0.0 * packet), jnp.asarray([0.0, 70.0, 200.0])).value
    inside = value.displacement[:, :100]
    # At 70 one half has gone, the other one is upside down at 20.
    assert jnp.min(inside[1]) == pytest.approx(-0.5, abs=5e-3)
    assert jnp.argmin(inside[1]) in (19, 20)
    assert jnp.max(inside[1]) < 5e-3
    assert jnp.sum(inside[2] ** 2) < 1e-5 * jnp.sum(inside[0] ** 2)


# ---- what is refused


BAD = {
    "width": (lambda: kp.Absorbing(0), ValueError, "at least 1"),
    "a fraction": (lambda: kp.Absorbing(2.5), ValueError, "integer"),
    "too thick": (lambda: kp.Wave(GRID, 1.0, boundary=kp.Absorbing(4)), ValueError, "axis 0 are 4 \\+ 4 cells thick"),
    "no wave": (lambda: kp.Diffusion(GRID, 1.0, boundary=kp.Absorbing(2)), ValueError, "does not know Absorbing"),
    "radial": (
        lambda: kp.Wave(kp.RadialGrid(np.linspace(0.0, 1.0, 9)), 1.0, boundary=kp.Absorbing(2)),
        ValueError,
        "RadialGrid",
    ),
    "another order": (lambda: kp.Wave(GRID, 1.0, accuracy=3), ValueError, "order in space, 2 or 4, got 3"),
    "fourth order on a graded grid": (
        lambda: kp.Wave(kp.Grid.from_edges([[0.0, 1.0, 3.0, 4.0]]), 1.0, accuracy=4),
        ValueError,
        "uniform Cartesian grids",
    ),
    "fourth order on a radial grid": (
        lambda: kp.Wave(kp.RadialGrid(np.linspace(0.0, 1.0, 9)), 1.0, accuracy=4),
        ValueError,
        "uniform Cartesian grids",
    ),
    "fourth order with a mask": (
        lambda: kp.Wave(kp.Grid(4, 0.0, 1.0, active=np.arange(4) > 0), 1.0, accuracy=4),
        ValueError,
        "all active",
    ),
    "fourth order with a driven wall": (
        lambda: kp.Wave(GRID, 1.0, boundary=kp.Dirichlet(1.0), accuracy=4),
        ValueError,
        "its walls are mirrors",
    ),
    "fourth order with a moving wall": (
        lambda: kp.Wave(GRID, 1.0, boundary=kp.Neumann(jnp.sin), accuracy=4),
        ValueError,
        "its walls are mirrors",
    ),
    "fourth order with Robin": (
        lambda: kp.Wave(GRID, 1.0, boundary=kp.Robin(1.0, 1.0), accuracy=4),
        ValueError,
        "does not know Robin",
    ),
    "negative damping": (
        lambda: kp.Wave(GRID, 1.0, damping=-0.1),
        ValueError,
        r"damping\)` must not be negative",
    ),
    "plain state": (
        lambda: kp.Wave(GRID, 1.0, boundary=BOUNDARY).vector_field(0.0, START),
        TypeError,
        r"equation.extended\(state\)",
    ),
    "Chebyshev": (
        lambda: kp.solve(kp.Wave(GRID, 1.0, damping=0.1), START, 1.0, method=kp.Chebyshev()),
        ValueError,
        "Chebyshev",
    ),
}


@pytest.mark.bad_input
@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_says_so(name):
    make, kind, message = BAD[name]
    with pytest.raises(kind, match=message):
        make()
