"""`kp.arnoldi` and `kp.lanczos`: the factorizations with their derivatives, for any lineax operator."""

import operator as op

import equinox as eqx
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, ArrayLike, Float, Inexact, PyTree

from ..operator import is_self_adjoint
from . import _arnoldi_adjoint, _lanczos_adjoint
from ._operand import checked_operator, checked_vector, matching_weight, split


class Hessenberg(eqx.Module):
    """What [`krylovpde.arnoldi`][] returns: `A Q = Q H + r e_mᵀ`, the columns of `Q` in the rows of `basis`.

    * `basis`: pytree like the vector, with a leading axis of `num_steps`: `q_1 = v / norm`, `q_2`, ...; orthonormal in
        the operator's weight.
    * `matrix`: `H = Q* M A Q`, `(num_steps, num_steps)`, upper Hessenberg with a real positive subdiagonal.
    * `residual`: `r`, like the vector, orthogonal to the basis and not normalised.
    * `norm`: `‖v‖` in the operator's weight.
    """

    basis: PyTree[Inexact[Array, "num_steps ..."]]
    matrix: Inexact[Array, "num_steps num_steps"]
    residual: PyTree[Inexact[Array, "..."]]
    norm: Float[Array, ""]


class Tridiagonal(eqx.Module):
    """What [`krylovpde.lanczos`][] returns: `A Q = Q T + r e_mᵀ`, the columns of `Q` in the rows of `basis`.

    * `basis`: pytree like the vector, with a leading axis of `num_steps`: `q_1 = v / norm`, `q_2`, ...; orthonormal in
        the operator's weight.
    * `diagonal`, `offdiagonal`: of the real symmetric `T = Q* M A Q`, `(num_steps,)` and `(num_steps - 1,)`; the
        off-diagonal is positive.
    * `residual`: `r`, like the vector, orthogonal to the basis and not normalised.
    * `norm`: `‖v‖` in the operator's weight.
    """

    basis: PyTree[Inexact[Array, "num_steps ..."]]
    diagonal: Float[Array, " num_steps"]
    offdiagonal: Float[Array, " num_steps-1"]
    residual: PyTree[Inexact[Array, "..."]]
    norm: Float[Array, ""]


def arnoldi(
    operator: lx.AbstractLinearOperator, vector: PyTree[ArrayLike], num_steps: int, *, reorthogonalise: bool = True
) -> Hessenberg:
    r"""Arnoldi's factorization of an operator on the Krylov space of a vector, differentiable in O(n m) memory.

        A Q = Q H + r e_mᵀ,      Q* M Q = I,      Q* M r = 0,      Q e_1 = v / ‖v‖,      m = num_steps

    `M` is the operator's weight ([`krylovpde.operator.weight`][]; the identity where it has none). Where the Krylov
    space ends after `k < m` vectors (an eigenvector, a zero vector, `m` above the number of unknowns), the rows
    past `k` of the basis, the rows and columns past `k` of the matrix, and the residual are zero, in value and in
    derivative. It ends where a new direction is shorter than 100 units of rounding times the longest `A q` so far.

    The reverse-mode derivative solves the adjoint system of Theorem 4.1 (with Corollary 4.3) of Krämer et al., with as
    many vectors again as the basis has and one vector–Jacobian product per step. It is exact for the computed
    factorization; that does not make the gradient of a function of the operator as good as its value: see the page on
    adjoints. Derivatives reach the operator's parameters (those that its function has closed over as well), its weight
    and the vector. Forward mode does not exist.

    **Arguments:**

    - `operator`: any square linear operator, real or complex.
    - `vector`: `v`, like the operator's input: arrays of any shape, real or complex. Its precision decides.
    - `num_steps`: `m ≥ 1`, the number of basis vectors and of applications.
    - `reorthogonalise`: two passes of classical Gram–Schmidt in every step (orthogonal to rounding), also in the
        derivative. `False`: one pass, whose orthogonality decays as Ritz values converge; the derivative assumes
        orthogonality and decays with it.

    **Returns:**

    [`krylovpde.Hessenberg`][].

    **Raises:**

    `TypeError` for something that is not a lineax operator; `ValueError` for an operator that is not square, a vector
    unlike its input, `num_steps` below 1.
    """
    checked_operator(operator, "arnoldi")
    num_steps = _checked_steps(num_steps, "arnoldi")
    factors = _arnoldi_factors(operator, checked_vector(operator, vector, "arnoldi"), num_steps, reorthogonalise)
    return Hessenberg(factors.basis, factors.matrix, factors.residual, factors.norm)


def lanczos(
    operator: lx.AbstractLinearOperator, vector: PyTree[ArrayLike], num_steps: int, *, reorthogonalise: bool = True
) -> Tridiagonal:
    r"""Lanczos' factorization of a self-adjoint operator on the Krylov space of a vector, differentiable.

        A Q = Q T + r e_mᵀ,      Q* M Q = I,      Q* M r = 0,      Q e_1 = v / ‖v‖,      m = num_steps

    `T` is real, symmetric and tridiagonal, also for a complex (Hermitian) operator; `M` is the weight in which the
    operator is self-adjoint. Breakdown and derivatives are those of [`krylovpde.arnoldi`][].

    **Arguments:**

    - `operator`: a linear operator that is known to be self-adjoint in its weight.
    - `vector`: `v`, like the operator's input: arrays of any shape, real or complex. Its precision decides.
    - `num_steps`: `m ≥ 1`, the number of basis vectors and of applications.
    - `reorthogonalise`: orthogonalise against the whole basis, twice, in O(n m²); the derivative is then the adjoint
        system of Theorem 4.1 with its re-projections. `False`: the three-term recurrence in O(n m), whose adjoint
        (Theorem 4.2) is a three-term recurrence too; orthogonality is lost as Ritz values converge, copies of
        converged eigenvalues appear in `T`, and the derivative, exact for that recurrence, grows with it. Do not take
        it past the size of the space: rounding passes for new directions.

    **Returns:**

    [`krylovpde.Tridiagonal`][].

    **Raises:**

    Those of [`krylovpde.arnoldi`][], and `ValueError` for an operator that is not known to be self-adjoint.
    """
    checked_operator(operator, "lanczos")
    if not is_self_adjoint(operator):
        message = (
            "`lanczos(operator, ...)` needs an operator that is self-adjoint in its weight; this "
            f"{type(operator).__name__} is not known to be. If it is, say so: "
            "`krylovpde.annotate(operator, tags=krylovpde.self_adjoint_tag)`, with `weight=` if its inner product is "
            "not Euclidean; or give lineax's `symmetric_tag` to a real operator, its `positive_semidefinite_tag` to a "
            "Hermitian one. If it is not, use `krylovpde.arnoldi`."
        )
        raise ValueError(message)
    num_steps = _checked_steps(num_steps, "lanczos")
    vector = checked_vector(operator, vector, "lanczos")
    if reorthogonalise:
        # With full orthogonalisation the two methods do the same work, and only Theorem 4.1 has re-projections.
        factors = _arnoldi_factors(operator, vector, num_steps, reorthogonalise)
        diagonal, offdiagonal = (jnp.real(jnp.diagonal(factors.matrix, offset=k)) for k in (0, -1))
        return Tridiagonal(factors.basis, diagonal, offdiagonal, factors.residual, factors.norm)
    factors = _lanczos_factors(operator, vector, num_steps)
    return Tridiagonal(factors.basis, factors.diagonal, factors.lengths[1:], factors.residual, factors.lengths[0])


def _arnoldi_factors(operator, vector, num_steps: int, reorthogonalise: bool) -> _arnoldi_adjoint.Factors:
    parameters, arrays, rest = split(operator)
    weight = matching_weight(operator, vector)
    num_passes = 2 if reorthogonalise else 1
    return _compiled_arnoldi(rest, num_steps, num_passes, parameters, arrays, weight, vector)


def _lanczos_factors(operator, vector, num_steps: int) -> _lanczos_adjoint.Factors:
    parameters, arrays, rest = split(operator)
    weight = matching_weight(operator, vector)
    return _compiled_lanczos(rest, num_steps, parameters, arrays, weight, vector)


# Compiled once per shape and structure: new numbers in the operator or the vector do not compile again.
_compiled_arnoldi = eqx.filter_jit(_arnoldi_adjoint.factorise)
_compiled_lanczos = eqx.filter_jit(_lanczos_adjoint.factorise)


def _checked_steps(num_steps: int, name: str) -> int:
    num_steps = op.index(num_steps)
    if num_steps < 1:
        message = f"`{name}(..., num_steps)` must be at least 1, got {num_steps}."
        raise ValueError(message)
    return num_steps
