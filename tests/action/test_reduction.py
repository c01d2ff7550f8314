"""Sums over a space in use, terms of low rank, predicates of a batch, and the order of output times."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from krylovpde.action import Reduction, Schedule, batch_any, batch_max, lift
from krylovpde.action._grow import checkpoints, default_capacity, record_slots
from krylovpde.adjoint._low_rank import eliminate
from tests.helpers import relative_error


def space(capacity, dimension, shape=(3, 2)):
    rows = np.random.default_rng(0).standard_normal((capacity, *shape))
    rows[dimension:] = 0.0
    number = jnp.asarray(dimension, jnp.int32)
    return Reduction({"u": jnp.asarray(rows)}, None, jnp.asarray(0.0), jnp.asarray(1.0), number, number)


@pytest.mark.parametrize(("capacity", "dimension"), [(5, 3), (32, 32), (33, 1), (37, 37), (50, 17), (50, 0)])
def test_lift_sums_what_is_in_use(capacity, dimension):
    reduction = space(capacity, dimension)
    coefficients = np.random.default_rng(1).standard_normal((4, capacity))
    coefficients[:, dimension:] = 0.0
    expected = np.einsum("km,mij->kij", coefficients, reduction.basis["u"])
    stack = lift(reduction, jnp.asarray(coefficients))["u"]
    assert np.allclose(stack, expected, atol=1e-13)
    assert np.allclose(lift(reduction, jnp.asarray(coefficients[0]))["u"], expected[0], atol=1e-13)


def test_lift_of_a_batch_with_different_dimensions():
    spaces = [space(40, dimension) for dimension in (3, 40, 20)]
    batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), *spaces)
    coefficients = jnp.asarray(np.random.default_rng(2).standard_normal((3, 40)))
    values = jax.vmap(lift)(batch, coefficients)["u"]
    for value, single, row in zip(values, spaces, coefficients, strict=True):
        assert np.allclose(value, np.einsum("m,mij->ij", row, single.basis["u"]), atol=1e-13)


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_elimination_finds_the_rank(dtype):
    rng = np.random.default_rng(3)
    left, right = rng.standard_normal((7, 3)), rng.standard_normal((3, 9))
    kernel = (left @ right).astype(dtype) * (1j if dtype is np.complex128 else 1.0)
    columns, rows, count = eliminate(jnp.asarray(kernel), jnp.asarray(1e-12))
    assert count == 3
    assert relative_error(columns.T @ rows, jnp.asarray(kernel)) < 1e-12


def test_elimination_stops_at_the_cut_and_takes_every_lane_to_it():
    rng = np.random.default_rng(4)
    basis = [np.linalg.qr(rng.standard_normal((8, 8)))[0] for _ in range(2)]
    fast, slow = (basis[0] @ np.diag(decay ** np.arange(8)) @ basis[1] for decay in (1e-3, 0.5))
    kernels = jnp.asarray([fast, slow, np.zeros((8, 8))])
    cut = 1e-6
    left, right, count = jax.vmap(eliminate, in_axes=(0, None))(kernels, jnp.asarray(cut))
    assert count[2] == 0
    assert 2 <= count[0] <= 4 < count[1]
    for kernel, columns, rows in zip(kernels, left, right, strict=True):
        assert np.linalg.norm(kernel - columns.T @ rows) <= 1.01 * cut


def test_batch_predicates_stay_scalar():
    numbers = jnp.asarray([[1, 5], [2, 3]])
    assert jnp.array_equal(jax.vmap(batch_max)(numbers[0]), jnp.asarray([5, 5]))
    nested = jax.vmap(jax.vmap(lambda x: (batch_max(x), batch_any(x > 4))))(numbers)
    assert jnp.all(nested[0] == 5)
    assert jnp.all(nested[1])
    # A scalar predicate keeps `cond` a branch; one for each lane would turn it into a select of both sides.
    program = jax.make_jaxpr(jax.vmap(lambda x: jax.lax.cond(batch_any(x > 4), lambda: x + 1, lambda: x)))(numbers[0])
    assert "cond" in str(program)
    assert batch_max(jnp.asarray(3)) == 3


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([0.5, -1.0, 0.0, 2.0, -0.25, 0.5], [-0.25, -1.0, 0.0, 0.5, 0.5, 2.0]),
        ([3.0], [3.0]),
        ([-2.0, -1.0], [-1.0, -2.0]),
        ([0.0, 0.0], [0.0, 0.0]),
    ],
)
def test_schedule_goes_away_from_zero_first_backwards_then_forwards(times, expected):
    times = jnp.asarray(times)
    schedule = Schedule(times)
    assert jnp.array_equal(schedule.times, jnp.asarray(expected))
    assert jnp.array_equal(schedule.times[schedule.inverse], times)
    assert schedule[jnp.asarray(100)] == expected[-1]
    assert schedule.last(jnp.asarray(-0.1)) == min(times.tolist())
    assert schedule.last(jnp.asarray(0.0)) == max(times.tolist())


def test_schedule_in_a_batch():
    times = jnp.asarray([[1.0, -1.0, 0.5], [0.0, 2.0, 1.0]])
    schedules = jax.vmap(Schedule)(times)
    assert jnp.array_equal(schedules.times, jnp.asarray([[-1.0, 0.5, 1.0], [0.0, 1.0, 2.0]]))


def test_sizes_of_buffers():
    assert checkpoints(1, 6, 1.3) == (1,)
    assert checkpoints(10, 6, 1.3) == (6, 8, 10)
    structure = jax.ShapeDtypeStruct((1024, 1024), jnp.float64)
    assert default_capacity(structure, 16, 40) == 32  # 256 MiB of vectors of 8 MiB
    assert default_capacity(jax.ShapeDtypeStruct((3,), jnp.float32), 16, 40) == 3
    assert record_slots(32, structure, 1) == 1
    assert record_slots(8, jax.ShapeDtypeStruct((4,), jnp.float64), 1) == 8
