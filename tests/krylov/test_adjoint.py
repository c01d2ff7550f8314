"""The derivative rules of the factorizations: the adjoint systems, against everything else that knows the answer."""

import functools as ft

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

from krylovpde.krylov import arnoldi, lanczos
from krylovpde.krylov._unrolled import unrolled_lanczos
from krylovpde.operator import annotate, self_adjoint_tag
from tests.helpers import random_like, relative_error, rounding, variants

from .problems import DTYPES, PROBLEMS, arnoldi_problem, lanczos_problem

every_problem = pytest.mark.parametrize("name", list(PROBLEMS))
SETTINGS = [(weighted, dtype) for weighted in (False, True) for dtype in DTYPES.values()]
# One with the orthogonalisation and one with the recurrence; the others are between them.
two_problems = pytest.mark.parametrize("name", variants(PROBLEMS, quick=["arnoldi", "lanczos, three terms"]))

# How far the three-term recurrence, the worst conditioned of the four, carries rounding in these problems.
CONDITION = 1e3


def pairing(cotangent, values):
    """JAX's bilinear pairing of a cotangent with a tangent, over all leaves."""
    leaves = zip(jax.tree.leaves(cotangent), jax.tree.leaves(values), strict=True)
    return sum(jnp.real(jnp.sum(a * b)) for a, b in leaves)


def gradient(function, cotangent, arguments):
    """The vector–Jacobian product for dense cotangents of all outputs, with respect to all arguments."""
    return jax.jit(jax.grad(lambda args: pairing(cotangent, function(*args))))(arguments)


def setting(name, dtype, weighted, key):
    problem = PROBLEMS[name](dtype, weighted=weighted)
    cotangent = random_like(key, jax.eval_shape(problem.unrolled, *problem.arguments))
    return problem, cotangent


# Each problem in the plainest and in the most general setting.
@every_problem
@pytest.mark.parametrize(
    ("weighted", "dtype"),
    variants(SETTINGS, quick=[(False, DTYPES["real"]), (True, DTYPES["complex"])]),
    ids=["euclidean-real", "euclidean-complex", "weighted-real", "weighted-complex"],
)
def test_gradients_are_those_of_the_unrolled_loop(name, dtype, weighted, key):
    problem, cotangent = setting(name, dtype, weighted, key)
    result = gradient(problem.routine, cotangent, problem.arguments)
    reference = gradient(problem.unrolled, cotangent, problem.arguments)
    # Each argument by itself, so that a small gradient cannot hide behind a large one; the weight is the third.
    assert result[2] is None or weighted
    for mine, theirs in zip(jax.tree.leaves(result), jax.tree.leaves(reference), strict=True):
        assert relative_error(mine, theirs) < rounding(dtype, CONDITION)
    # If every bit agreed, the rule would not have run.
    assert relative_error(result, reference) > 0.0


@two_problems
def test_gradients_are_those_of_finite_differences(name, key):
    keys = jax.random.split(key)
    problem, cotangent = setting(name, np.complex128, True, keys[0])
    direction = random_like(keys[1], problem.arguments)
    step = 1e-5

    @jax.jit
    def loss(size):
        moved = jax.tree.map(lambda a, d: a + size.astype(a.dtype) * d, problem.arguments, direction)
        return pairing(cotangent, problem.routine(*moved))

    difference = (loss(jnp.asarray(step)) - loss(jnp.asarray(-step))) / (2 * step)
    slope = pairing(gradient(problem.routine, cotangent, problem.arguments), direction)
    assert abs(slope - difference) < 1e-6 * max(abs(difference), 1.0)


@two_problems
def test_reverse_is_the_transpose_of_forward(name, key):
    # <c, J d> = <Jᵀ c, d>, forward through the unrolled loop: the rule itself has no forward mode, and says so.
    keys = jax.random.split(key)
    problem, cotangent = setting(name, np.complex128, True, keys[0])
    direction = random_like(keys[1], problem.arguments)
    forward = pairing(cotangent, jax.jvp(problem.unrolled, problem.arguments, direction)[1])
    backward = pairing(gradient(problem.routine, cotangent, problem.arguments), direction)
    assert abs(forward - backward) < rounding(np.float64, CONDITION) * abs(forward)
    with pytest.raises(TypeError, match="custom_vjp"):
        jax.jvp(problem.routine, problem.arguments, direction)


@pytest.mark.parametrize("num_steps", variants([1, 2, 6], slow=[2]))
@pytest.mark.parametrize("make", [arnoldi_problem, lanczos_problem, PROBLEMS["lanczos, three terms"]])
def test_gradients_from_one_step_to_the_whole_space(make, num_steps, key):
    problem = make(np.float64, weighted=False, num_steps=num_steps)
    cotangent = random_like(key, jax.eval_shape(problem.unrolled, *problem.arguments))
    if num_steps == 6:
        # The residual of the whole space is rounding, and cut to zero here. Its derivative is zero up to rounding.
        cotangent = (*cotangent[:-2], jnp.zeros_like(cotangent[-2]), cotangent[-1])
    result = gradient(problem.routine, cotangent, problem.arguments)
    reference = gradient(problem.unrolled, cotangent, problem.arguments)
    assert relative_error(result, reference) < rounding(np.float64, 1e6)


@pytest.mark.parametrize("name", variants(["arnoldi", "lanczos, three terms"], quick=["lanczos, three terms"]))
def test_second_derivatives(name, key):
    keys = jax.random.split(key)
    problem, cotangent = setting(name, np.float64, False, keys[0])
    direction = random_like(keys[1], problem.arguments)

    def second(function):
        def slope(args):
            return pairing(jax.grad(lambda a: pairing(cotangent, function(*a)))(args), direction)

        return jax.jit(jax.grad(slope))(problem.arguments)

    assert relative_error(second(problem.routine), second(problem.unrolled)) < rounding(np.float64, 1e4)


@pytest.mark.parametrize("name", variants(["arnoldi", "lanczos", "lanczos, three terms"], quick=["arnoldi"]))
def test_vmap_of_gradients_and_a_zero_vector_among_them(name, key):
    problem, cotangent = setting(name, np.float64, True, key)
    matrix, vector, weight = problem.arguments
    vectors = jnp.stack([vector, jnp.zeros_like(vector), jnp.flip(vector)])
    vjp = jax.grad(lambda v, a: pairing(cotangent, problem.routine(a, v, weight)), argnums=(0, 1))
    batched = jax.jit(jax.vmap(vjp, in_axes=(0, None)))(vectors, matrix)
    single = [jax.jit(vjp)(v, matrix) for v in vectors]
    expected = jax.tree.map(lambda *leaves: jnp.stack(leaves), *single)
    assert relative_error(batched, expected) < rounding(np.float64, CONDITION)
    assert relative_error(batched[0][1], jnp.zeros_like(vector)) == 0.0
    assert float(jnp.max(jnp.abs(batched[1][1]))) == 0.0


@pytest.mark.parametrize("num_steps", variants([7, 9], quick=[9]))
def test_reprojection_on_a_hilbert_matrix(num_steps, key):
    """The derivatives of what is constant vanish: Q*Q, and A Q - Q H - r e_mᵀ.

    The subdiagonals of a Hilbert matrix fall to 2e-9 at m = 9, and the multipliers grow to 1e8. The derivative of the
    constants is measured against them: at rounding with re-projection, at 1e-7 (m = 9) without.
    """
    size = 10
    index = np.arange(size)
    hilbert = jnp.asarray(1.0 / (index[:, None] + index[None, :] + 1.0))
    keys = jax.random.split(key, 4)
    vector = jax.random.normal(keys[0], (size,))
    cotangent = jax.random.normal(keys[1], (num_steps, size))
    gram_cotangent = jax.random.normal(keys[2], (num_steps, num_steps))

    def factors(matrix, reorthogonalise):
        result = arnoldi(lx.MatrixLinearOperator(matrix), vector, num_steps, reorthogonalise=reorthogonalise)
        return result.basis, result.matrix, result.residual

    def gram(matrix, reorthogonalise):
        basis, _, _ = factors(matrix, reorthogonalise)
        return jnp.sum(gram_cotangent * (basis @ basis.T))

    def defect(matrix):
        basis, small, residual = factors(matrix, True)
        return jnp.sum(cotangent * (basis @ matrix.T - small.T @ basis).at[-1].add(-residual))

    size_of = jnp.linalg.norm
    scale = size_of(jax.grad(lambda matrix: jnp.sum(cotangent * factors(matrix, True)[0]))(hilbert))
    assert size_of(jax.grad(ft.partial(gram, reorthogonalise=True))(hilbert)) < rounding(np.float64) * scale
    assert size_of(jax.grad(defect)(hilbert)) < rounding(np.float64) * scale
    if num_steps == 9:
        assert size_of(jax.grad(ft.partial(gram, reorthogonalise=False))(hilbert)) > 1e-9 * scale


def test_single_precision_gradients_stay_single_and_accurate(key):
    for make in (arnoldi_problem, PROBLEMS["lanczos, three terms"]):
        problem = make(np.float32, weighted=True, num_steps=3)
        cotangent = random_like(key, jax.eval_shape(problem.unrolled, *problem.arguments))
        result = gradient(problem.routine, cotangent, problem.arguments)
        assert {leaf.dtype for leaf in jax.tree.leaves(result)} == {np.dtype(np.float32)}
        wide = jax.tree.map(lambda leaf: leaf.astype(np.float64), (problem.arguments, cotangent))
        reference = gradient(problem.unrolled, wide[1], wide[0])
        assert relative_error(result, reference) < rounding(np.float32, 10)


@pytest.mark.slow
def test_every_parameter_of_a_module_operator_and_of_a_pytree_state(key):
    """A tree of fields of different shapes, coupled; parameters closed over, one of them complex."""
    keys = jax.random.split(key, 5)
    vector = {"a": jax.random.normal(keys[0], (3, 2)), "b": jax.random.normal(keys[1], (4,))}
    vector = jax.tree.map(lambda leaf: leaf.astype(np.complex128), vector)
    coupling = jax.random.normal(keys[2], (6, 4))
    phase = jnp.asarray(0.3 + 0.4j)
    diffusion = jnp.asarray([1.0, 2.0, 0.5, 0.7])

    def apply(parameters, x):
        phase, diffusion, coupling = parameters
        mixed = phase * coupling.astype(phase.dtype)
        a = jnp.matmul(mixed, x["b"]).reshape(3, 2) + 2.0 * x["a"]
        b = jnp.matmul(mixed.conj().T, x["a"].reshape(6)) + diffusion.astype(phase.dtype) * x["b"]
        return {"a": a, "b": b}

    def routine(parameters, vector, reorthogonalise):
        operator = lx.FunctionLinearOperator(lambda x: apply(parameters, x), jax.eval_shape(lambda: vector))
        result = lanczos(annotate(operator, tags=self_adjoint_tag), vector, 4, reorthogonalise=reorthogonalise)
        return result.basis, result.diagonal, result.offdiagonal, result.residual, result.norm

    def unrolled(parameters, vector):
        return unrolled_lanczos(lambda x: apply(parameters, x), vector, None, 4)

    arguments = ((phase, diffusion, coupling), vector)
    cotangent = random_like(keys[3], jax.eval_shape(unrolled, *arguments))
    reference = gradient(unrolled, cotangent, arguments)
    for reorthogonalise in (True, False):
        result = gradient(ft.partial(routine, reorthogonalise=reorthogonalise), cotangent, arguments)
        for mine, theirs in zip(jax.tree.leaves(result), jax.tree.leaves(reference), strict=True):
            assert relative_error(mine, theirs) < rounding(np.float64, CONDITION)


def test_gradient_through_filter_grad_of_an_operator(key):
    # The operator itself is the differentiated argument, with integer leaves that no derivative may touch.
    class Shift(eqx.Module):
        values: jax.Array
        order: jax.Array

        def __call__(self, x):
            return self.values * x[self.order]

    module = Shift(jnp.asarray([1.0, 2.0, 3.0, 4.0]), jnp.asarray([2, 0, 3, 1]))
    vector = jax.random.normal(key, (4,))

    @eqx.filter_grad
    def slope(module):
        operator = lx.FunctionLinearOperator(module, jax.eval_shape(lambda: vector))
        return jnp.sum(arnoldi(operator, vector, 2).matrix)

    def dense(values):
        operator = lx.MatrixLinearOperator(values[:, None] * jnp.eye(4)[module.order])
        return jnp.sum(arnoldi(operator, vector, 2).matrix)

    result = slope(module)
    assert result.order is None
    assert relative_error(result.values, jax.grad(dense)(module.values)) < rounding(np.float64)


def laplacian(diffusivity, field):
    """Divergence of a diffusivity times the gradient, insulated: a stencil that stores no matrix."""
    flux = diffusivity * jnp.diff(field, axis=0)
    return jnp.pad(flux, ((0, 1), (0, 0))) - jnp.pad(flux, ((1, 0), (0, 0)))


@pytest.mark.parametrize("kind", ["arnoldi", "lanczos", "lanczos, three terms"])
def test_memory_of_the_gradient_is_that_of_a_few_bases(kind):
    shape = (64, 64)
    operands = (jnp.ones((63, 64)), jnp.ones(shape))

    def loss(diffusivity, vector, num_steps):
        operator = lx.FunctionLinearOperator(lambda x: laplacian(diffusivity, x), jax.eval_shape(lambda: vector))
        operator = annotate(operator, tags=self_adjoint_tag)
        if kind == "arnoldi":
            factors = arnoldi(operator, vector, num_steps)
            return jnp.sum(factors.basis) + jnp.sum(factors.matrix)
        factors = lanczos(operator, vector, num_steps, reorthogonalise="three" not in kind)
        return jnp.sum(factors.basis) + jnp.sum(factors.diagonal)

    def workspace(num_steps):
        slope = jax.jit(jax.grad(ft.partial(loss, num_steps=num_steps), argnums=(0, 1)))
        return slope.lower(*operands).compile().memory_analysis().temp_size_in_bytes

    field_bytes = 8 * 64 * 64
    # Measured: 1.05 fields per step (three terms), 2.05 (Arnoldi), beside the cotangent of the basis that this loss
    # makes. Unrolled, twice Gram–Schmidt alone keeps 2 m² fields for the way back: 800 at m = 20.
    assert 20 * field_bytes < workspace(20) < (20 * 3.5 + 10) * field_bytes
