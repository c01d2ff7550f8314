"""The structure test: does the operator have the properties that it claims."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree

from ..krylov._arnoldi import arnoldi_start, arnoldi_step
from ..krylov._space import inner, norm
from ..operator import is_self_adjoint, is_skew_adjoint, spectral_bound, weight as weight_of
from ._random import machine_epsilon, rough

_DRAWS = 3
_ROUNDING = 100
_DIMENSION = 30  # finds the outermost eigenvalue of a second difference to about 1 %
_CONVERGED = 1e-2


class Claim(eqx.Module):
    """One property that an operator claims, and what random vectors say of it: it holds if `found <= limit`."""

    name: str
    found: float
    limit: float

    @property
    def passed(self) -> bool:
        """Whether the claim holds (NaN does not pass)."""
        return bool(self.found <= self.limit)

    def __str__(self) -> str:
        """One line."""
        word, sign = ("passed", "<=") if self.passed else ("FAILED", "> ")
        return f"{word}  {self.name}: {self.found:.3e} {sign} {self.limit:.3e}"


class StructureReport(eqx.Module):
    """What [`krylovpde.verify.structure_test`][] found: one [`krylovpde.verify.Claim`][] for each claimed property."""

    claims: tuple[Claim, ...]

    @property
    def passed(self) -> bool:
        """Whether every claim holds."""
        return not self.failed

    @property
    def failed(self) -> tuple[str, ...]:
        """The names of the claims that do not hold."""
        return tuple(claim.name for claim in self.claims if not claim.passed)

    def __str__(self) -> str:
        """One line for each claim."""
        return "\n".join(map(str, self.claims)) if self.claims else "passed  (the operator claims nothing)"


def structure_test(operator: lx.AbstractLinearOperator, *, key: PRNGKeyArray) -> StructureReport:
    """Hold an operator's tags, weight and spectral bound against rough random vectors.

    With `<x, y> = conj(x)·M·y` in the operator's weight `M`, it is checked, where it is claimed, that

    - the weight is positive and finite;
    - *self-adjoint*: `<x, A y> = <A x, y>`; *skew-adjoint*: `<x, A y> = -<A x, y>`;
    - lineax's *symmetric* tag: `x·A y = A x·y`, no conjugate and no weight; its *semidefinite* tags: Hermitian, and the
      sign of `<x, A x>`, both without weight;
    - *spectral bound*: no Ritz value of a Krylov space of dimension 30 lies outside. For a self- or skew-adjoint
      operator every Ritz value is below the spectral radius, and the outermost come close to it. Otherwise only those
      with a residual below 1 % count, and they may be off by their residual: a bound that fails is too small, but
      one that passes may still be.

    A passing test is evidence, a failing one is proof. Tags are believed without further check everywhere else, and a
    false one gives wrong numbers: run this once on any operator that you tag yourself.

    **Arguments:**

    - `operator`: any square lineax operator, on arrays or pytrees.
    - `key`: for the random numbers.

    **Returns:**

    A [`krylovpde.verify.StructureReport`][]; see `.passed`, `.failed`, or print it.

    **Raises:** `ValueError` if the operator is not square.
    """
    if jtu.tree_map(_shape, operator.in_structure()) != jtu.tree_map(_shape, operator.out_structure()):
        message = (
            "structure_test: `operator` must be square, but it maps "
            f"{operator.in_structure()} to {operator.out_structure()}; dot_test takes any shape."
        )
        raise ValueError(message)
    weight, bound = weight_of(operator), spectral_bound(operator)
    epsilon = machine_epsilon(operator.in_structure(), operator.out_structure())
    key, krylov_key = jax.random.split(key)
    claims = [] if weight is None else [Claim("positive weight", -_smallest(weight), 0.0)]
    claims += _adjointness(operator, weight, _ROUNDING * epsilon, key)
    if bound is not None:
        normal = any(claim.passed and claim.name in ("self-adjoint", "skew-adjoint") for claim in claims)
        radius = _radius(operator, weight, krylov_key, normal=normal)
        claims.append(Claim("spectral bound", radius, float(bound) * (1 + _ROUNDING * epsilon)))
    return StructureReport(tuple(claims))


def _shape(leaf) -> tuple[int, ...]:
    return leaf.shape


def _smallest(weight: PyTree) -> float:
    """The smallest weight; zero, which is not positive, has to fail, and so has infinity."""
    leaves = [np.asarray(leaf) for leaf in jtu.tree_leaves(weight)]
    if not all(np.all(np.isfinite(leaf)) and np.all(leaf != 0) for leaf in leaves):
        return -np.inf
    return float(min(leaf.min() for leaf in leaves))


def _adjointness(operator: lx.AbstractLinearOperator, weight: PyTree, limit: float, key: PRNGKeyArray) -> list[Claim]:
    measured = [_mismatches(operator, weight, k) for k in jax.random.split(key, _DRAWS)]
    worst = {name: float(np.max([float(draw[name]) for draw in measured])) for name in measured[0]}
    semidefinite = {1: lx.is_positive_semidefinite(operator), -1: lx.is_negative_semidefinite(operator)}
    claimed = {
        "self-adjoint": is_self_adjoint(operator),
        "skew-adjoint": is_skew_adjoint(operator),
        "symmetric": lx.is_symmetric(operator),
        "Hermitian (semidefinite tag)": any(semidefinite.values()),
        "positive semidefinite": semidefinite[1],
        "negative semidefinite": semidefinite[-1],
    }
    return [Claim(name, worst[name], limit) for name, is_claimed in claimed.items() if is_claimed]


@eqx.filter_jit
def _mismatches(operator: lx.AbstractLinearOperator, weight: PyTree, key: PRNGKeyArray) -> dict[str, Array]:
    """How far each property is from holding, relative to the norms of the vectors."""
    key_x, key_y = jax.random.split(key)
    x, y = rough(key_x, operator.in_structure()), rough(key_y, operator.in_structure())
    image_x, image_y = operator.mv(x), operator.mv(y)

    def relative(number: Array, weight: PyTree) -> Array:
        scale = jnp.maximum(norm(x, weight) * norm(image_y, weight), norm(image_x, weight) * norm(y, weight))
        return number / jnp.where(scale == 0, jnp.ones_like(scale), scale)

    left, right = inner(x, image_y, weight), inner(image_x, y, weight)
    conjugate_x, conjugate_image = jtu.tree_map(jnp.conj, (x, image_x))
    plain = jnp.abs(inner(conjugate_x, image_y) - inner(conjugate_image, y))
    energy = jnp.real(inner(x, image_x))
    return {
        "self-adjoint": relative(jnp.abs(left - right), weight),
        "skew-adjoint": relative(jnp.abs(left + right), weight),
        "symmetric": relative(plain, None),
        "Hermitian (semidefinite tag)": relative(jnp.abs(inner(x, image_y) - inner(image_x, y)), None),
        "positive semidefinite": relative(-energy, None),
        "negative semidefinite": relative(energy, None),
    }


def _radius(operator: lx.AbstractLinearOperator, weight: PyTree, key: PRNGKeyArray, *, normal: bool) -> float:
    """The modulus of the outermost Ritz value that can be believed: a lower estimate of the spectral radius."""
    size = sum(int(np.prod(leaf.shape)) for leaf in jtu.tree_leaves(operator.in_structure()))
    hessenberg, last = _krylov(operator, weight, key, min(size, _DIMENSION))
    hessenberg = np.asarray(hessenberg)
    if not np.all(np.isfinite(hessenberg)):
        return np.nan
    values, vectors = np.linalg.eig(hessenberg)
    if normal:
        return float(np.max(np.abs(values)))
    residuals = float(last) * np.abs(vectors[-1])
    converged = residuals <= _CONVERGED * np.abs(values)
    return float(np.max(np.abs(values) - residuals, where=converged, initial=0.0))


@eqx.filter_jit
def _krylov(operator: lx.AbstractLinearOperator, weight: PyTree, key: PRNGKeyArray, dimension: int):
    start = arnoldi_start(rough(key, operator.in_structure()), weight, dimension)
    state = jax.lax.fori_loop(0, dimension, lambda _, state: arnoldi_step(operator.mv, weight, state), start)
    # After a breakdown the last row is not the last one of the buffer; the residual is then zero.
    return state.hessenberg, state.residual_norm
