"""States between those that were kept are made again: the gradient is that of a march that kept all of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import krylovpde as kp
from krylovpde.action import _stored_states
from krylovpde.action._stored_states import empty_states, num_slots, widest_spacing
from tests.helpers import relative_error

from .problems import cotangent, general, point

# A space of six vectors takes up to 90 steps over these durations.
METHOD = kp.Arnoldi(max_dimension=6)
MAX_STEPS = 128


def _gradients(times, method, p, v, **options):
    def loss(p, v):
        solution = kp.expm_multiply(general(p), v, times, method=method, **options)
        return jnp.sum(cotangent(v) * solution.value), solution.stats.num_steps

    return jax.grad(loss, argnums=(0, 1), has_aux=True)(p, v)


@pytest.fixture
def few_states(monkeypatch):
    """Room for five states: gaps of sixteen steps and more, of an odd number of slots."""
    monkeypatch.setattr(_stored_states, "_BYTES", 0)
    monkeypatch.setattr(_stored_states, "_LEAST", 5)
    jax.clear_caches()
    yield
    jax.clear_caches()


@pytest.mark.usefixtures("few_states")
@pytest.mark.parametrize(
    "times",
    [
        pytest.param([0.3], marks=pytest.mark.slow, id="one"),
        pytest.param([0.1, 0.3], marks=pytest.mark.slow, id="two"),
        pytest.param([-0.05, 0.2], id="both directions"),
    ],
)
def test_the_gradient_does_not_depend_on_which_states_were_kept(times):
    p, v, _ = point("general")
    times = jnp.asarray(times)
    mine, steps = _gradients(times, METHOD, p, v, rtol=1e-6, max_steps=MAX_STEPS)
    assert int(steps) > 2 * 8 + 1  # beyond the spaces that are kept, and with gaps of several steps
    reference, _ = _gradients(times, kp.Dense(), p, v)
    assert relative_error(mine, reference) < 1e-5


@pytest.mark.usefixtures("few_states")
@pytest.mark.slow
def test_a_batch_whose_lanes_take_different_numbers_of_steps():
    p, v, _ = point("general")
    times = jnp.asarray([[0.02], [0.3], [0.15]])

    def both(method, **options):
        return jax.vmap(lambda t: _gradients(t, method, p, v, **options)[0])(times)

    mine = both(METHOD, rtol=1e-6, max_steps=MAX_STEPS)
    assert relative_error(mine, both(kp.Dense())) < 1e-5


@pytest.mark.usefixtures("few_states")
@pytest.mark.slow
def test_what_is_counted():
    """Each step but those whose spaces are kept is built once more, and those between kept states twice at most."""
    p, v, _ = point("general")
    options = {"method": METHOD, "rtol": 1e-6, "max_steps": MAX_STEPS}
    # A gradient's march aims at a fifth of the tolerance.
    forward = kp.expm_multiply(general(p), v, 0.3, **{**options, "rtol": 2e-7}).stats
    back = kp.pullback(general(p), v, 0.3, jnp.ones_like(v), **options).stats
    again = int(back.applications) - int(forward.applications)
    assert 0.4 * int(forward.applications) < again < 2.0 * int(forward.applications)


@pytest.mark.parametrize(("slots", "count"), [(4, 3), (4, 4), (4, 5), (5, 23), (4, 64), (1, 5)])
def test_states_are_thinned_out_evenly(monkeypatch, slots, count):
    monkeypatch.setattr(_stored_states, "_BYTES", 0)
    monkeypatch.setattr(_stored_states, "_LEAST", slots)
    stored = empty_states(jnp.zeros(2), 64)
    for step in range(count):
        stored = stored.remember(jnp.int32(step), jnp.full(2, float(step)), jnp.array(True))
    spacing = int(stored.spacing)
    assert spacing == widest_spacing(slots, count)  # no wider than it has to be
    for step in range(0, count, spacing):
        np.testing.assert_array_equal(stored.state(jnp.int32(step)), float(step))


def test_all_states_are_kept_where_they_fit():
    assert num_slots(jnp.zeros(1000), 256) == 256
    assert num_slots(jnp.zeros((1024, 1024)), 256) == 16
    assert num_slots(jnp.zeros((1024, 1024)), 3) == 3
