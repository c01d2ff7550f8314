"""Heat in a rod with fixed ends, `u_t = (k u_x)_x`: the experiment of the documentation."""

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np

import krylovpde as kp

from .smooth_errors import SmoothCase

NUM_CELLS, DURATION = 127, 0.001
DIMENSIONS = (5, 10, 15, 20, 25, 30, 35, 40)


def rod(conductivity: jax.Array) -> lx.AbstractLinearOperator:
    """`(k u_x)_x` on 127 interior nodes, conductivities on 128 faces, zero at both ends."""
    spacing = 1.0 / (NUM_CELLS + 1)

    def apply(u: jax.Array) -> jax.Array:
        padded = jnp.pad(u, 1)
        return jnp.diff(conductivity * jnp.diff(padded)) / spacing**2

    operator = lx.FunctionLinearOperator(apply, jax.ShapeDtypeStruct((NUM_CELLS,), conductivity.dtype))
    return kp.annotate(operator, tags=kp.self_adjoint_tag)


def heat(dtype: str) -> SmoothCase:
    """Conductivity with a jump; start and cotangent smooth."""
    x = np.arange(1, NUM_CELLS + 1) / (NUM_CELLS + 1)
    faces = (np.arange(NUM_CELLS + 1) + 0.5) / (NUM_CELLS + 1)
    conductivity = 1.0 + 0.5 * np.sin(2 * np.pi * faces) + 0.3 * (faces > 0.5)
    start = np.exp(-(((x - 0.35) / 0.1) ** 2))
    cotangent = np.exp(-(((x - 0.6) / 0.12) ** 2))
    fields = (jnp.asarray(field, dtype) for field in (conductivity, start, cotangent))
    return SmoothCase(rod, *fields, DURATION, DIMENSIONS)
