"""Small random problems for the Krylov tests: general and self-adjoint operators, real and complex, weighted or not."""

import functools as ft
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np

from krylovpde.krylov import arnoldi, lanczos
from krylovpde.krylov._unrolled import unrolled_arnoldi, unrolled_lanczos
from krylovpde.operator import annotate, self_adjoint_tag

SHAPE = (2, 3)  # a field, so that nothing may rely on one dimension


class Problem(NamedTuple):
    """Arguments (matrix, vector, weight or None), the routine under test, and the loop that JAX differentiates.

    Both functions map (matrix, vector, weight) to a tuple of all outputs.
    """

    arguments: tuple
    routine: Callable[..., Any]
    unrolled: Callable[..., Any]


def random_arguments(dtype, *, weighted: bool, seed: int = 0) -> tuple:
    """A matrix, a field and a positive weight that varies by an order of magnitude, or None."""
    rng = np.random.default_rng(seed)
    size = int(np.prod(SHAPE))

    def normal(shape):
        values = rng.standard_normal(shape)
        if np.issubdtype(dtype, np.complexfloating):
            values = values + 1j * rng.standard_normal(shape)
        return jnp.asarray(values.astype(dtype))

    weight = jnp.asarray(rng.uniform(0.3, 3.0, SHAPE).astype(jnp.finfo(dtype).dtype))
    return normal((size, size)), normal(SHAPE), weight if weighted else None


def times(matrix, field):
    """A dense matrix on a field."""
    return jnp.matmul(matrix, field.reshape(-1), precision="highest").reshape(field.shape)


def self_adjoint(matrix, weight, field):
    """The Hermitian part of a matrix, divided by the weight: self-adjoint in it, whatever the matrix."""
    image = times((matrix + matrix.conj().T) / 2, field)
    return image if weight is None else image / weight.astype(image.dtype)


def arnoldi_problem(dtype, *, weighted: bool, num_steps: int = 4, reorthogonalise: bool = True, seed=0) -> Problem:
    def routine(matrix, vector, weight):
        # A lambda over traced arrays: their gradients must survive.
        operator = lx.FunctionLinearOperator(lambda x: times(matrix, x), jax.eval_shape(lambda: vector))
        operator = operator if weight is None else annotate(operator, weight=weight)
        factors = arnoldi(operator, vector, num_steps, reorthogonalise=reorthogonalise)
        return factors.basis, factors.matrix, factors.residual, factors.norm

    def unrolled(matrix, vector, weight):
        # One pass is enough in so small and well conditioned a space, and compiles in half the time.
        return unrolled_arnoldi(ft.partial(times, matrix), vector, weight, num_steps, num_passes=1)

    return Problem(random_arguments(dtype, weighted=weighted, seed=seed), routine, unrolled)


def lanczos_problem(dtype, *, weighted: bool, num_steps: int = 4, reorthogonalise: bool = True, seed=0) -> Problem:
    def routine(matrix, vector, weight):
        structure = jax.eval_shape(lambda: vector)
        operator = lx.FunctionLinearOperator(lambda x: self_adjoint(matrix, weight, x), structure)
        operator = annotate(operator, tags=self_adjoint_tag, weight=weight)
        factors = lanczos(operator, vector, num_steps, reorthogonalise=reorthogonalise)
        return factors.basis, factors.diagonal, factors.offdiagonal, factors.residual, factors.norm

    def unrolled(matrix, vector, weight):
        return unrolled_lanczos(ft.partial(self_adjoint, matrix, weight), vector, weight, num_steps)

    return Problem(random_arguments(dtype, weighted=weighted, seed=seed), routine, unrolled)


PROBLEMS = {
    "arnoldi": arnoldi_problem,
    "arnoldi, one pass": ft.partial(arnoldi_problem, reorthogonalise=False),
    "lanczos": lanczos_problem,
    "lanczos, three terms": ft.partial(lanczos_problem, reorthogonalise=False),
}
DTYPES = {"real": np.float64, "complex": np.complex128}
