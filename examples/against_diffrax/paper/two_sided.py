"""The two-sided adjoint with its adaptivity taken off: one step, `depth` vectors forward and `depth` backward.

What the package does under `TwoSidedAdjoint`, as a page of text, so that work can be fixed as theirs is.
"""

import functools as ft

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax.scipy.linalg import expm
from jaxtyping import Array

import krylovpde as kp

from .stencils import Case


@ft.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def two_sided(case: Case, depth: int, squared: Array, state: kp.WaveState) -> kp.WaveState:
    """`exp(tB) state` in one Krylov space of the first-order form."""
    return _forward(case, depth, squared, state)[0]


def _forward(case: Case, depth: int, squared: Array, state: kp.WaveState):
    space = kp.arnoldi(case.first_order(squared), state, depth)
    coefficients = space.norm * expm(case.horizon * space.matrix)[:, 0]
    return combine(space.basis, coefficients), (squared, space)


def _backward(case: Case, depth: int, saved, cotangent: kp.WaveState):
    squared, space = saved
    dual = kp.arnoldi(case.first_order(squared).transpose(), cotangent, depth)
    unit = jnp.zeros((depth, depth), squared.dtype).at[0, 0].set(1.0)
    block = jnp.block([[dual.matrix, unit], [jnp.zeros_like(unit), space.matrix.T]])
    exponential = expm(case.horizon * block)
    # dJ = Σ X_ij w_iᵀ dB v_j, and only the velocity of w meets dB v = (0, dA u): one product of two fields a row.
    pairing = dual.norm * space.norm * exponential[:depth, depth:]
    weights = jnp.tensordot(pairing, dual.basis.velocity, axes=((0,), (0,)))
    pull = jax.vjp(lambda s: jax.vmap(case.equation(s).operator().mv)(space.basis.displacement), squared)[1]
    return pull(weights)[0], combine(dual.basis, dual.norm * exponential[:depth, 0])


two_sided.defvjp(_forward, _backward)


def combine(basis: kp.WaveState, coefficients: Array) -> kp.WaveState:
    """`Σ c_j q_j`."""
    return jtu.tree_map(lambda rows: jnp.tensordot(coefficients, rows, axes=1, precision="highest"), basis)
