"""What every equation must do: vector field, leaves, dtypes, transformations, Diffrax."""

import functools as ft

import diffrax
import equinox as eqx
import jax
import jax.flatten_util as jfu
import jax.numpy as jnp
import numpy as np
import pytest

from krylovpde.equation import WaveState
from krylovpde.grid import Absorbing, AbstractGrid
from krylovpde.operator import is_self_adjoint, spectral_bound, weight
from tests.equation.registry import EQUATIONS, LITTLE_NEW
from tests.helpers import random_like, relative_error, variants

every_equation = pytest.mark.parametrize("name", variants(EQUATIONS, slow=LITTLE_NEW))


@ft.cache
def _made(name, dtype=jnp.float64):
    return EQUATIONS[name](dtype)


def _field(equation, seed=0, dtype=jnp.float64):
    structure = equation.operator().in_structure()
    return random_like(jax.random.key(seed), jax.tree.map(lambda s: jnp.zeros(s.shape, dtype), structure))


def _state(equation, seed=0, dtype=jnp.float64):
    field = _field(equation, seed, dtype)
    if equation.order == 1:
        return field
    state = WaveState(field, _field(equation, seed + 1, dtype))
    if equation.first_order_form() is None:
        return state
    # What layers remember takes part, too.
    return random_like(jax.random.key(seed), jax.tree.map(jnp.zeros_like, equation.extended(state)))


def _real_parts(rate):
    """The numbers of a rate in a row; of a complex one the imaginary parts, too."""
    flat = jfu.ravel_pytree(rate)[0]
    return [jnp.real(flat), jnp.imag(flat)] if jnp.iscomplexobj(flat) else [flat]


def _outside_of_layers(equation, field):
    """Zero in the cells of absorbing layers."""
    for axis, (lower, upper) in enumerate(zip(equation.boundary.lower, equation.boundary.upper, strict=True)):
        place = jnp.expand_dims(jnp.arange(field.shape[axis]), tuple(range(1, field.ndim - axis)))
        below, above = (side.width if isinstance(side, Absorbing) else 0 for side in (lower, upper))
        field = jnp.where((place >= below) & (place < field.shape[axis] - above), field, 0.0)
    return field


@eqx.filter_jit
def _rate(equation, state):
    return equation.vector_field(0.3, state, None)


@every_equation
def test_vector_field_is_the_operator_and_the_forcing(name):
    equation = _made(name)
    state = _state(equation)
    form = equation.first_order_form()
    if form is not None:
        expected, forcing = form.operator().mv(state), form.forcing()
        if forcing is not None:
            expected = jax.tree.map(jnp.add, expected, forcing)
        assert relative_error(_rate(equation, state), expected) < 1e-13
        return
    field = state.displacement if equation.order == 2 else state
    expected = equation.operator().mv(field)
    forcing = equation.forcing()
    if forcing is not None:
        assert forcing.shape == expected.shape
        expected = expected + forcing
    rate = _rate(equation, state)
    if equation.order == 2:
        assert isinstance(rate, WaveState)
        np.testing.assert_array_equal(rate.displacement, state.velocity)
        rate = rate.velocity
    np.testing.assert_allclose(rate, expected, rtol=1e-13, atol=1e-12)
    assert equation.nonlinear(0.0, state) is None


@every_equation
def test_single_precision_stays_single(name):
    """Parameters in single or in double precision: the state's dtype decides."""
    for dtype in (jnp.float32, jnp.float64):
        equation = _made(name, dtype)
        if name == "linear matrix" and dtype == jnp.float64:
            continue  # lineax's own matrix has one dtype
        state = _state(equation, dtype=jnp.float32)
        rate = jax.eval_shape(_rate, equation, state)
        assert all(leaf.dtype in (jnp.float32, jnp.complex64) for leaf in jax.tree.leaves(rate))
    single, double = _made(name, jnp.float32), _made(name)
    state = _state(double)
    low = _rate(single, jax.tree.map(lambda leaf: leaf.astype(jnp.float32), state))
    assert relative_error(low, _rate(double, state)) < 1e-5
    if any(leaf.ndim > 0 for leaf in jax.tree.leaves(single)):  # else there are Python numbers only
        bound = spectral_bound(single.operator())
        assert bound.dtype == jnp.float32
        assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(weight(single.operator())))


@every_equation
def test_parameters_are_leaves_that_derivatives_reach(name):
    """Forward = reverse = differences, through everything that is computed from the parameters."""
    equation = _made(name)
    parameters, static = eqx.partition(equation, eqx.is_inexact_array)
    state, cotangent = _state(equation, 1), _state(equation, 2)
    direction = random_like(jax.random.key(3), parameters)
    if "absorbing" in name:
        # Layers follow the largest speed in them as a constant, which differences do not see as one.
        direction = eqx.tree_at(lambda p: p.speed, direction, _outside_of_layers(equation, direction.speed))

    @jax.jit
    def product(p):
        rate = eqx.combine(p, static).vector_field(0.0, state, None)
        return sum(jnp.vdot(jfu.ravel_pytree(cotangent)[0], part) for part in _real_parts(rate))

    forward = jax.jit(lambda p, d: jax.jvp(product, (p,), (d,))[1])(parameters, direction)
    gradient = jax.jit(jax.grad(product))(parameters)
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(gradient))
    reverse = jnp.vdot(jfu.ravel_pytree(gradient)[0], jfu.ravel_pytree(direction)[0])
    step = 1e-5
    high, low = (product(jax.tree.map(lambda p, d, s=s: p + s * d, parameters, direction)) for s in (step, -step))
    assert forward == pytest.approx(float(reverse), rel=1e-10)
    assert forward == pytest.approx(float((high - low) / (2 * step)), rel=1e-5, abs=1e-6)


@every_equation
def test_every_leaf_matters(name):
    """No parameter is consumed by the constructor: each one that is there has a derivative somewhere."""
    equation = _made(name)
    parameters, static = eqx.partition(equation, eqx.is_inexact_array)

    def all_of_it(p):
        rate = eqx.combine(p, static).vector_field(0.0, _state(equation), None)
        return sum(jnp.sum(jnp.sin(part)) for part in _real_parts(rate))

    gradient = jax.jit(jax.grad(all_of_it))(parameters)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert np.any(np.asarray(leaf) != 0.0), jax.tree_util.keystr(path)


@every_equation
def test_new_numbers_do_not_retrace(name):
    traces = []

    @eqx.filter_jit
    def rate(equation, state):
        traces.append(1)
        return equation.vector_field(0.0, state, None)

    equation = _made(name)
    state = _state(equation)
    rate(equation, state)
    moved = jax.tree.map(lambda leaf: leaf * 1.1 if eqx.is_inexact_array(leaf) else leaf, equation)
    rate(moved, state)
    assert len(traces) == 1


@every_equation
def test_batches_of_equations(name):
    equation = _made(name)
    parameters, static = eqx.partition(equation, eqx.is_inexact_array)
    state = _state(equation)
    batch = jax.tree.map(lambda leaf: jnp.stack([leaf, 1.2 * leaf]), parameters)
    rates = jax.jit(jax.vmap(lambda p: eqx.combine(p, static).vector_field(0.0, state, None)))(batch)
    assert relative_error(jax.tree.map(lambda leaf: leaf[0], rates), _rate(equation, state)) < 1e-12


@every_equation
def test_made_inside_of_jit(name):
    """Constructors check only what is known: with everything traced they must not look at numbers."""
    equation = _made(name)
    if name.startswith("linear"):
        pytest.skip("holds an operator, no parameters of its own")
    keywords = {k: v for k, v in vars(equation).items() if not isinstance(v, AbstractGrid)}
    arrays, others = eqx.partition(keywords, eqx.is_inexact_array)

    @jax.jit
    def rate(arrays, state):
        again = type(equation)(equation.grid, **eqx.combine(arrays, others))
        return again.vector_field(0.0, state, None)

    assert relative_error(rate(arrays, _state(equation)), _rate(equation, _state(equation))) < 1e-12


# One of each order in time: the same line of code serves all.
@pytest.mark.parametrize(
    "name", variants(["diffusion field", "advection upwind", "wave", "linear sparse"], quick=["wave", "linear sparse"])
)
@pytest.mark.standard_promotion
def test_diffrax_takes_the_vector_field(name):
    equation = _made(name)
    state = _state(equation)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(equation.vector_field), diffrax.Euler(), 0.0, 1e-3, 1e-3, state, max_steps=4
    )
    step = jax.tree.map(lambda u, rate: u + 1e-3 * rate, state, _rate(equation, state))
    assert relative_error(jax.tree.map(lambda leaf: leaf[0], solution.ys), step) < 1e-12


def test_self_adjointness_is_known():
    known = {name for name in EQUATIONS if is_self_adjoint(_made(name).operator())}
    assert known == {name for name in EQUATIONS if name.startswith(("diffusion", "wave"))}
