"""One vector-Jacobian product of a Krylov iteration: compiled, and timed against the others at all depths."""

import functools as ft
import time
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.sparse.linalg import norm as sparse_norm

import krylovpde as kp

from .backpropagation import arnoldi_loop, lanczos_loop
from .matrices import is_symmetric, symmetric_part


class Contestant(NamedTuple):
    """One iteration and one way to differentiate it."""

    iteration: str
    reorthogonalise: bool
    backpropagation: bool

    @property
    def name(self) -> str:
        """As it is printed."""
        how = "with" if self.reorthogonalise else "without"
        return f"{self.iteration} {how}, {'backpropagation' if self.backpropagation else 'adjoint'}"


class Passes(NamedTuple):
    """The compiled passes of one contestant at one depth."""

    forward: Any
    backward: Any
    cotangent: Any
    memory: int
    compile_s: float


def contestants(symmetric: bool) -> list[Contestant]:
    """Lanczos only where the matrix is symmetric, and without: with reorthogonalisation it is Arnoldi's loop."""
    pairs = [("Arnoldi", True), ("Arnoldi", False)] + ([("Lanczos", False)] if symmetric else [])
    return [Contestant(*pair, backpropagation) for pair in pairs for backpropagation in (False, True)]


def factors(
    who: Contestant, depth: int, operator: kp.SparseOperator, vector: jax.Array, values: jax.Array
) -> dict[str, jax.Array]:
    """What the iteration returns, as a function of the operator's values."""
    operator = eqx.tree_at(lambda it: it.values, operator, values)
    if who.iteration == "Arnoldi" and who.backpropagation:
        basis, matrix, residual = arnoldi_loop(operator.mv, vector, depth, 2 if who.reorthogonalise else 1)
        return {"basis": basis, "matrix": matrix, "residual": residual}
    if who.iteration == "Arnoldi":
        result = kp.arnoldi(operator, vector, depth, reorthogonalise=who.reorthogonalise)
        return {"basis": result.basis, "matrix": result.matrix, "residual": result.residual}
    if who.backpropagation:
        basis, diagonal, offdiagonal, residual = lanczos_loop(operator.mv, vector, depth)
        return {"basis": basis, "diagonal": diagonal, "offdiagonal": offdiagonal, "residual": residual}
    found = kp.lanczos(operator, vector, depth, reorthogonalise=who.reorthogonalise)
    names = ("basis", "diagonal", "offdiagonal", "residual")
    return {name: getattr(found, name) for name in names}


def passes(who: Contestant, depth: int, operator: kp.SparseOperator, vector: jax.Array) -> Passes:
    """Compile; the operator and the vector are arguments, so that XLA folds no constants."""
    arrays, rest = eqx.partition(operator, eqx.is_array)

    def forward(arrays, vector, values):
        function = ft.partial(factors, who, depth, eqx.combine(arrays, rest), vector)
        return jax.vjp(function, values)

    def both(arrays, vector, values, cotangent):
        result, pull = forward(arrays, vector, values)
        return result, pull(cotangent)[0]

    began = time.perf_counter()
    arguments = (arrays, vector, operator.values)
    ahead = jax.jit(forward)
    result, pull = ahead(*arguments)
    keys = jax.random.split(jax.random.key(0), len(result))
    names = zip(keys, sorted(result), strict=True)
    cotangent = {name: jax.random.normal(key, result[name].shape, result[name].dtype) for key, name in names}
    back = jax.jit(lambda pull, cotangent: pull(cotangent)[0])
    jax.block_until_ready(back(pull, cotangent))
    compile_s = time.perf_counter() - began
    memory: Any = jax.jit(both).lower(*arguments, cotangent).compile().memory_analysis()
    return Passes(ft.partial(ahead, *arguments), back, cotangent, memory.temp_size_in_bytes, compile_s)


def clock(call: Any, *arguments: Any) -> tuple[float, Any]:
    """Seconds, and what was returned."""
    began = time.perf_counter()
    result = jax.block_until_ready(call(*arguments))
    return time.perf_counter() - began, result


def measure(matrix: Any, depths: list[int], repeats: int) -> list[dict[str, Any]]:
    """A row for each contestant and depth, and how far the two gradients are apart."""
    symmetric = is_symmetric(matrix)
    operator = kp.SparseOperator.from_scipy(matrix, tags=kp.self_adjoint_tag if symmetric else ())
    vector = jnp.asarray(np.random.default_rng(0).standard_normal(matrix.shape[0]), matrix.dtype)
    table = {(who, depth): passes(who, depth, operator, vector) for who in contestants(symmetric) for depth in depths}
    seconds: dict[Any, list[tuple[float, float]]] = {key: [] for key in table}
    gradients: dict[Any, np.ndarray] = {}
    for _ in range(repeats):
        for key, both in table.items():
            forward_s, (_, pull) = clock(both.forward)
            backward_s, gradient = clock(both.backward, pull, both.cotangent)
            seconds[key].append((forward_s, backward_s))
            gradients[key] = np.asarray(gradient)
    rows = []
    for (who, depth), both in table.items():
        forward_s, backward_s = np.median(seconds[who, depth], axis=0)
        row = {"name": who.name, **who._asdict(), "depth": depth, "forward_s": forward_s, "backward_s": backward_s}
        row |= {"memory_bytes": both.memory, "compile_s": both.compile_s}
        if not who.backpropagation:
            other = gradients[who._replace(backpropagation=True), depth]
            row["difference"] = difference(matrix, who, gradients[who, depth], other)
        rows.append({key: item.item() if isinstance(item, np.generic) else item for key, item in row.items()})
    return rows


def difference(matrix: Any, who: Contestant, first: np.ndarray, second: np.ndarray) -> float:
    """`‖first - second‖ / ‖second‖`; for Lanczos of the symmetric parts, since the rest belongs to no iteration."""
    if who.iteration == "Arnoldi":
        return float(np.linalg.norm(first - second) / np.linalg.norm(second))
    change, size = (sparse_norm(symmetric_part(matrix, entries)) for entries in (first - second, second))
    return float(change / size)
