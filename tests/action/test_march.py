"""The march through time, of both orders and with sources, against SciPy's exponential of the augmented matrix."""

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest
import scipy.linalg

import krylovpde as kp
from krylovpde._solution import RESULTS
from krylovpde.action import Problem, Schedule, Settings, march

SIZE = 24
TIMES = np.array([-0.3, 0.0, 0.4, 0.4, 1.0, -0.1])


def matrix_of(kind):
    rng = np.random.default_rng(5)
    if kind == "self-adjoint":
        return -2.0 * np.eye(SIZE) + np.diag(np.ones(SIZE - 1), 1) + np.diag(np.ones(SIZE - 1), -1)
    shift = np.diag(np.ones(SIZE - 1), 1)
    return -2.0 * np.eye(SIZE) + 1.6 * shift + 0.4 * shift.T + 0.1 * rng.standard_normal((SIZE, SIZE)) / SIZE


def reference(order, matrix, state, times):
    """`[u, …]` at each time from the exponential of the whole first-order form, sources as further states."""
    count = len(state)
    generator = np.zeros((count * SIZE, count * SIZE))
    for component in range(count - 1):
        rows = slice(component * SIZE, (component + 1) * SIZE)
        generator[rows, (component + 1) * SIZE : (component + 2) * SIZE] = np.eye(SIZE)
    generator[(order - 1) * SIZE : order * SIZE, :SIZE] += matrix
    flow = [scipy.linalg.expm(t * generator) @ np.concatenate(state) for t in times]
    return [[value[c * SIZE : (c + 1) * SIZE] for c in range(order)] for value in flow]


@eqx.filter_jit
def run(settings, problem, state, times):
    schedule = Schedule(times)
    final = march(settings, problem, state, schedule, 0)
    return [component[schedule.inverse] for component in final.outputs], final


CASES = [
    pytest.param("Lanczos", 1, 2, id="lanczos-first-order-two-sources", marks=pytest.mark.slow),
    pytest.param("Lanczos", 2, 1, id="lanczos-second-order-one-source"),
    pytest.param("Arnoldi", 1, 0, id="arnoldi-first-order", marks=pytest.mark.slow),
    pytest.param("Arnoldi", 2, 2, id="arnoldi-second-order-two-sources", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("name", "order", "num_sources"), CASES)
def test_march_is_the_exponential_of_the_augmented_matrix(name, order, num_sources):
    matrix = matrix_of("self-adjoint" if name == "Lanczos" else "general")
    operator = lx.MatrixLinearOperator(jnp.asarray(matrix))
    if name == "Lanczos":
        operator = kp.annotate(operator, tags=kp.self_adjoint_tag)
    method = kp.Lanczos(max_dimension=9) if name == "Lanczos" else kp.Arnoldi(max_dimension=9)
    settings = Settings(method, 1e-8, 0.0, 200)
    rng = np.random.default_rng(6)
    state = [rng.standard_normal(SIZE) for _ in range(order + num_sources)]
    # The same program for one step and for many: only the lengths of the times differ.
    for stretch, many in ((0.1, False), (9.0 if order == 2 else 6.0, True)):
        times = stretch * TIMES
        problem = Problem(operator, None, None, order)
        outputs, final = run(settings, problem, tuple(map(jnp.asarray, state)), jnp.asarray(times))
        assert final.result == RESULTS.successful
        assert (final.counters.steps > 4) == many
        for i, expected in enumerate(reference(order, matrix, state, times)):
            for component in range(order):
                size = max(np.linalg.norm(expected[component]), np.linalg.norm(state[component]))
                assert np.linalg.norm(outputs[component][i] - expected[component]) <= 10 * 1e-8 * size
        # Repeated times are the same bits, and time 0 is the start up to the rounding of the basis.
        for component in range(order):
            assert jnp.array_equal(outputs[component][2], outputs[component][3])
            assert np.allclose(outputs[component][1], state[component], rtol=0, atol=1e-13)


def test_march_counts_what_it_does():
    calls = []
    matrix = jnp.asarray(matrix_of("general"))

    class Counted(kp.AbstractOperator):
        """Tells the host of every product."""

        def mv(self, vector):
            jax.debug.callback(lambda: calls.append(1))
            return matrix @ vector

        def transpose(self):
            raise NotImplementedError

        def in_structure(self):
            return lx.MatrixLinearOperator(matrix).in_structure()

        def out_structure(self):
            return self.in_structure()

        @property
        def weight(self):
            return None

        @property
        def spectral_bound(self):
            return None

        @property
        def tags(self):
            return frozenset()

    settings = Settings(kp.Arnoldi(max_dimension=9), 1e-6, 0.0, 200)
    vector = jnp.asarray(np.random.default_rng(7).standard_normal(SIZE))
    _, final = run(settings, Problem(Counted(), None, None, 1), (vector,), jnp.asarray([4.0]))
    jax.effects_barrier()
    assert final.counters.steps > 2
    # A space that is accepted early still runs to the next checkpoint, doing nothing; never more than that.
    assert final.counters.applications <= len(calls) <= final.counters.applications + 9 * int(final.counters.steps)
    assert int(final.counters.dimension) == 9


def test_max_steps_and_what_was_not_reached():
    settings = Settings(kp.Arnoldi(max_dimension=5), 1e-8, 0.0, 3)
    vector = jnp.asarray(np.random.default_rng(8).standard_normal(SIZE))
    operator = lx.MatrixLinearOperator(jnp.asarray(matrix_of("general")))
    outputs, final = run(settings, Problem(operator, None, None, 1), (vector,), jnp.asarray([0.001, 50.0]))
    assert final.result == RESULTS.max_steps_reached
    assert bool(jnp.all(jnp.isfinite(outputs[0][0])))
    assert bool(jnp.all(jnp.isnan(outputs[0][1])))
    assert 0.001 < float(final.time) < 50.0
