"""No n × n array is formed: the memory of the compiled program grows with the field."""

import functools as ft

import jax
import jax.numpy as jnp
import pytest

from krylovpde.grid import Dirichlet, Grid, Periodic
from krylovpde.operator import Central, Transport, Upwind, flux_operator

SIDE = 64
UNKNOWNS = SIDE * SIDE
CONDITIONS = (((Dirichlet(),) * 2), ((Periodic(),) * 2))


def _operator(field, scheme):
    grid = Grid((SIDE, SIDE), (0.0, 0.0), (1.0, 1.0))
    transport = None if scheme is None else Transport((field, field), scheme)
    return flux_operator(grid, (field, field), CONDITIONS, transport=transport, scale=field)


def apply(field, u, scheme):
    return _operator(field, scheme).mv(u)


def apply_transpose(field, u, scheme):
    return _operator(field, scheme).T.mv(u)


def gradient(field, u, scheme):
    return jax.grad(lambda f, v: jnp.sum(_operator(f, scheme).mv(v) ** 2), argnums=(0, 1))(field, u)


def bound(field, u, scheme):
    return _operator(field, scheme).spectral_bound * u


@pytest.mark.parametrize("scheme", [None, Central(), Upwind(3)], ids=["diffusion", "central", "upwind 3"])
@pytest.mark.parametrize("function", [apply, apply_transpose, gradient, bound])
def test_memory_is_a_few_fields(function, scheme):
    field = jnp.ones((SIDE, SIDE))
    analysis = jax.jit(ft.partial(function, scheme=scheme)).lower(field, field).compile().memory_analysis()
    assert analysis is not None
    assert analysis.temp_size_in_bytes < 60 * UNKNOWNS * 8  # n × n would be 4096 fields
    assert analysis.output_size_in_bytes < 3 * UNKNOWNS * 8
