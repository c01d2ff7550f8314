"""`expm_multiply` against SciPy: right to the tolerance or told, over every kind of operator and vector."""

import functools
import itertools
import re

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest
import scipy.linalg

import krylovpde as kp
from tests.helpers import variants

from .operators import OPERATORS, SIZE, TIMES, VECTORS, as_operator, norm

FACTOR = 10.0  # what the contract allows beyond the tolerance


@functools.cache
def propagators(name, single):
    """`exp(tA)` at the test's times, of the matrix as rounded to the working precision."""
    matrix = OPERATORS[name][1]
    if single:
        matrix = matrix.astype(np.complex64 if np.iscomplexobj(matrix) else np.float32)
        matrix = matrix.astype(np.complex128 if np.iscomplexobj(matrix) else np.float64)
    return [scipy.linalg.expm(float(t) * matrix) for t in TIMES]


def misses(name, rtol, dtype):
    """Every output that is further off than allowed though the result says successful, and how many were judged."""
    structure, matrix, weight = OPERATORS[name]
    single = dtype == np.float32
    operator = as_operator(structure, matrix, weight, dtype)
    tolerance = rtol if rtol is not None else (1e-4 if single else 1e-6)
    found, judged = [], 0
    # Under strict promotion lineax's complex matrices take complex vectors only.
    kind = np.result_type(dtype, np.complex64) if np.iscomplexobj(matrix) else dtype
    for vector_name, vector in VECTORS.items():
        start = jnp.asarray(vector, kind)
        solution = kp.expm_multiply(operator, start, jnp.asarray(TIMES, dtype), rtol=rtol, throw=False)
        start = np.asarray(start, np.complex128 if np.iscomplexobj(start) else np.float64)
        if not bool(solution.result == kp.RESULTS.successful):
            continue
        judged += 1
        for t, propagator, value in zip(TIMES, propagators(name, single), np.asarray(solution.value), strict=True):
            reference = propagator @ start
            allowed = FACTOR * tolerance * max(norm(reference, weight), norm(start, weight))
            error = norm(value - reference, weight)
            if not error <= allowed:
                found.append((vector_name, float(t), error / allowed * FACTOR))
    return found, judged


# Of each class that is compiled the ones that are hardest; complex ones of one kind only.
HARDEST = ["stiff diffusion", "indefinite", "hidden growth", "graded", "transport", "advection"]
HARDEST += ["large jordan", "upper triangular", "untagged oscillator", "complex"]


@pytest.mark.parametrize("name", variants(OPERATORS, quick=HARDEST))
def test_right_or_told(name):
    found, judged = misses(name, 1e-6, np.float64)
    assert not found
    assert judged >= len(VECTORS) - 1, "a failed result is honest, but these problems are within reach"


@pytest.mark.parametrize(
    ("rtol", "name"),
    variants(
        itertools.product((1e-4, 1e-8), ("diffusion", "transport", "large jordan", "upper triangular")),
        quick=[(1e-4, "diffusion"), (1e-8, "large jordan"), (1e-8, "upper triangular")],
    ),
)
def test_right_or_told_at_other_tolerances(name, rtol):
    found, judged = misses(name, rtol, np.float64)
    assert not found
    assert judged >= len(VECTORS) - 1


SINGLE = ["stiff diffusion", "graded", "schrodinger", "advection", "large jordan"]


@pytest.mark.parametrize("name", variants(SINGLE, slow=["stiff diffusion", "schrodinger"]))
def test_right_or_told_in_single_precision(name):
    found, _ = misses(name, None, np.float32)
    assert not found


def test_dense_method_is_scipys_exponential():
    matrix = OPERATORS["upper triangular"][1]
    value = kp.expm_multiply(
        lx.MatrixLinearOperator(jnp.asarray(matrix)), jnp.asarray(VECTORS["random"]), 0.3, method=kp.Dense()
    ).value
    reference = scipy.linalg.expm(0.3 * matrix) @ VECTORS["random"]
    assert np.linalg.norm(value - reference) <= 1e-11 * np.linalg.norm(reference)


def test_phi_functions_are_the_augmented_exponential():
    matrix = OPERATORS["advection"][1]
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((3, SIZE))
    generator = np.zeros((SIZE + 2, SIZE + 2))
    generator[:SIZE, :SIZE] = matrix
    generator[:SIZE, SIZE], generator[:SIZE, SIZE + 1] = vectors[1], vectors[2]
    generator[SIZE + 1, SIZE] = 1.0  # the factors of v1 and v2 are further states, 1 and t
    times = np.array([0.1, 0.5, -0.02])
    solution = kp.phi_multiply(
        lx.MatrixLinearOperator(jnp.asarray(matrix)), [jnp.asarray(v) for v in vectors], jnp.asarray(times), rtol=1e-8
    )
    for t, value in zip(times, solution.value, strict=True):
        reference = (scipy.linalg.expm(t * generator) @ np.concatenate([vectors[0], [1.0, 0.0]]))[:SIZE]
        assert np.linalg.norm(value - reference) <= 10 * 1e-8 * max(np.linalg.norm(reference), np.linalg.norm(vectors))


def test_an_absolute_tolerance_is_enough():
    operator = as_operator(*OPERATORS["diffusion"])
    vector = jnp.asarray(VECTORS["random"])
    loose = kp.expm_multiply(operator, vector, 1.0, atol=1e-2)
    tight = kp.expm_multiply(operator, vector, 1.0, rtol=1e-12)
    assert np.linalg.norm(loose.value - tight.value) <= FACTOR * 1e-2
    assert int(loose.stats.applications) < int(tight.stats.applications)


def test_statistics_are_counted():
    operator = as_operator(*OPERATORS["stiff diffusion"])
    solution = kp.expm_multiply(operator, jnp.asarray(VECTORS["random"]), jnp.asarray([0.1, 1.0]))
    stats = solution.stats
    assert stats.method == "Lanczos"
    assert stats.adjoint == "TwoSidedAdjoint"
    assert 1 <= int(stats.krylov_dimension) <= SIZE
    assert int(stats.applications) >= int(stats.krylov_dimension)
    assert int(stats.num_steps) >= 1
    assert float(stats.error_estimate) <= 1e-6
    assert float(stats.time) == 1.0
    assert jnp.array_equal(solution.times, jnp.asarray([0.1, 1.0]))
    assert bool(solution.successful)


@pytest.mark.parametrize("structure", variants(["self-adjoint", "general"], quick=["general"]))
def test_a_batch_equals_a_loop(structure):
    name = {"self-adjoint": "diffusion", "general": "advection"}[structure]
    matrix = jnp.asarray(OPERATORS[name][1])
    factors = jnp.asarray([0.1, 1.0, 3.0])
    vectors = jnp.asarray([VECTORS["random"], VECTORS["smooth"], 0 * VECTORS["smooth"]])
    times = jnp.asarray([[0.5, 0.1], [-0.02, 1.0], [0.0, 0.3]])

    def run(factor, vector, t):
        solution = kp.expm_multiply(as_operator(structure, factor * matrix, None), vector, t, throw=False)
        return solution.value, solution.stats.applications, solution.result == kp.RESULTS.successful

    batch = jax.jit(jax.vmap(run))(factors, vectors, times)
    single = jax.jit(run)
    for i in range(3):
        value, applications, successful = single(factors[i], vectors[i], times[i])
        size = float(jnp.max(jnp.linalg.norm(value, axis=-1)))
        assert float(jnp.linalg.norm(batch[0][i] - value)) <= 1e-10 * max(size, 1.0)
        # Lanes that are done take no more products, and are counted by themselves.
        assert int(batch[1][i]) == int(applications)
        assert bool(batch[2][i])
        assert bool(successful)


@pytest.mark.slow
def test_pytrees_and_precision():
    block = jnp.asarray(OPERATORS["diffusion"][1], jnp.float32)

    def apply(x):
        return {"a": block @ x["a"] + x["b"], "b": 0.5 * block @ x["b"]}

    start = {"a": jnp.asarray(VECTORS["smooth"], jnp.float32), "b": jnp.asarray(VECTORS["random"], jnp.float32)}
    operator = lx.FunctionLinearOperator(apply, jax.eval_shape(lambda: start))

    def run(start):
        return kp.expm_multiply(operator, start, jnp.asarray([0.1, 0.2]), throw=False)

    # float32 goes through the whole program: nothing of it is computed in the double precision that is enabled here.
    for program in (run, jax.grad(lambda start: sum(jnp.sum(leaf) for leaf in jax.tree.leaves(run(start).value)))):
        # Scalars that Python computed are weak until they meet an array; arrays are what counts.
        assert not re.search(r"f64\[\d", str(jax.make_jaxpr(program)(start)).replace("f64[2]", ""))
    solution = run(start)
    assert {leaf.dtype for leaf in jax.tree.leaves(solution.value)} == {jnp.dtype("float32")}
    assert solution.value["a"].shape == (2, SIZE)
    matrix = np.block([[block, np.eye(SIZE)], [np.zeros((SIZE, SIZE)), 0.5 * np.asarray(block)]]).astype(float)
    reference = scipy.linalg.expm(0.2 * matrix) @ np.concatenate([start["a"], start["b"]])
    value = np.concatenate([solution.value["a"][1], solution.value["b"][1]])
    assert np.linalg.norm(value - reference) <= FACTOR * 1e-4 * np.linalg.norm(np.concatenate([start["a"], start["b"]]))


@pytest.mark.standard_promotion
def test_dtypes():
    matrix = jnp.asarray(OPERATORS["diffusion"][1])
    # Integers and NumPy arrays become the default precision; a complex vector stays complex.
    value = kp.expm_multiply(lx.MatrixLinearOperator(matrix), np.arange(SIZE), 1).value
    assert value.dtype == jnp.float64
    value = kp.expm_multiply(lx.MatrixLinearOperator(matrix), jnp.ones(SIZE, jnp.complex128), 0.01).value
    assert value.dtype == jnp.complex128


@pytest.mark.standard_promotion
def test_a_complex_operator_makes_a_real_vector_complex():
    matrix = jnp.asarray(OPERATORS["hermitian"][1])
    value = kp.expm_multiply(lx.MatrixLinearOperator(matrix), jnp.ones(SIZE), 0.1).value
    assert value.dtype == jnp.complex128
    reference = scipy.linalg.expm(0.1 * np.asarray(matrix)) @ np.ones(SIZE)
    assert np.linalg.norm(value - reference) <= FACTOR * 1e-6 * np.linalg.norm(reference)


def test_vectors_of_mixed_precision():
    # The first one decides.
    operator = lx.MatrixLinearOperator(jnp.asarray(OPERATORS["diffusion"][1], jnp.float32))
    value = kp.phi_multiply(operator, (jnp.ones(SIZE, jnp.float32), jnp.ones(SIZE)), 0.01).value
    assert value.dtype == jnp.float32


def test_nothing_is_compiled_twice_when_numbers_change():
    count = []

    def listen(name, *_, **__):
        if "backend_compile" in name:
            count.append(name)

    operators = [as_operator("general", factor * OPERATORS["advection"][1], None) for factor in (1.0, 0.3)]
    vectors = [jnp.asarray(VECTORS[name]) for name in ("random", "first point")]
    times = [jnp.asarray([0.1, 0.2, 0.2]), jnp.asarray([-0.3, 0.0, 0.7])]
    kp.expm_multiply(operators[0], vectors[0], times[0], throw=False)
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        for t, vector in zip(times, vectors, strict=True):
            kp.expm_multiply(operators[1], vector, t, throw=False)
        assert count == []
        kp.expm_multiply(operators[1], vector, t, rtol=1e-3, throw=False)
        assert count, "the listener must see a compilation when there is one"
    finally:
        jax.monitoring.clear_event_listeners()


def test_failures_are_told():
    matrix = jnp.asarray(OPERATORS["random"][1])
    operator, vector = lx.MatrixLinearOperator(matrix), jnp.asarray(VECTORS["random"])
    method = kp.Arnoldi(max_dimension=6)
    failed = kp.expm_multiply(operator, vector, jnp.asarray([1e-3, 5.0]), method=method, max_steps=2, throw=False)
    assert failed.result == kp.RESULTS.max_steps_reached
    assert bool(jnp.all(jnp.isfinite(failed.value[0])))
    assert bool(jnp.all(jnp.isnan(failed.value[1])))
    assert 0.0 < float(failed.stats.time) < 5.0
    with pytest.raises(Exception, match="max_steps"):
        kp.expm_multiply(operator, vector, jnp.asarray([1e-3, 5.0]), method=method, max_steps=2)
    for broken in (vector.at[3].set(jnp.nan), vector.at[3].set(jnp.inf)):
        solution = kp.expm_multiply(operator, broken, jnp.asarray([1e-3, 5.0]), method=method, throw=False, max_steps=2)
        assert solution.result == kp.RESULTS.nonfinite
    holed = lx.MatrixLinearOperator(matrix.at[2, 2].set(jnp.nan))
    solution = kp.expm_multiply(holed, vector, jnp.asarray([1e-3, 5.0]), method=method, max_steps=2, throw=False)
    assert solution.result == kp.RESULTS.nonfinite


def test_no_callback_without_throw():
    operator, vector = lx.MatrixLinearOperator(jnp.asarray(OPERATORS["random"][1])), jnp.ones(SIZE)

    def program(throw):
        return str(jax.make_jaxpr(lambda v: kp.expm_multiply(operator, v, 0.1, throw=throw).value)(vector))

    assert "callback" not in program(False)
    assert "callback" in program(True)
