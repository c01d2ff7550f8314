"""matfree's Lanczos for heat, with the adjoint of its iteration, both with full reorthogonalisation."""

from functools import partial
from typing import Any

import jax.numpy as jnp
from matfree import decomp, funm

from .cases import Case
from .competitor import Competitor


def competitors(case: Case) -> list[Competitor]:
    """Several dimensions: matfree has no error control."""
    if case.kind != "heat":
        return []
    sizes = [size for size in (32, 64, 128, 256) if size < case.field.size]
    return [Competitor("matfree", "iteration", f"{size} vectors", partial(solve, case, size)) for size in sizes]


def solve(case: Case, size: int, coefficient: Any) -> tuple[Any, int]:
    """`exp(tA) u` from a tridiagonal matrix of `size` rows."""
    dense = funm.dense_funm_sym_eigh(lambda eigenvalues: jnp.exp(case.end * eigenvalues))
    estimate = funm.funm_lanczos_sym(dense, decomp.tridiag_sym(size, reortho="full"))
    return estimate(partial(apply, case), case.initial, coefficient), size


def apply(case: Case, u: Any, coefficient: Any) -> Any:
    """`A u`."""
    return case.equation(coefficient).operator().mv(u)
