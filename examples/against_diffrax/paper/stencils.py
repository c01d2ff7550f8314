"""Their wave equation, and a correct one, in both forms: `u_tt = A u`, and `(u, v)_t = (v, A u)`.

Their stencil `[[0, 1, 0], [1, -2, 1], [0, 1, 0]] / dx²`, on nodes padded by edge values, has -2 where the Laplacian
has -4. It is the five-point Laplacian with insulating walls plus `2 / dx²`: what stands still grows as
`cosh(t p sqrt(2) / dx)`. Both are flux operators here, and all methods use the same one.
"""

from typing import Any, NamedTuple

import jax
import lineax as lx
import numpy as np
from jaxtyping import Array

import krylovpde as kp
from krylovpde.grid import Neumann
from krylovpde.operator import FluxOperator, flux_operator

STENCILS = ("paper", "correct")


class Wave(kp.AbstractEquation):
    """`u_tt = p² (lap u + gain u)` in terms of `p²`, which may vanish, and of which a stage of a solver makes nothing.

    `gain`: `2 / dx²` for the paper's stencil, zero for a wave equation.
    """

    grid: kp.Grid
    squared: Array
    gain: float
    order = 2

    def operator(self) -> FluxOperator:
        """`p² (lap + gain)`, self-adjoint in the weight `dx² / p²`."""
        one = np.ones((), self.squared.dtype)
        walls = ((Neumann(), Neumann()),) * self.grid.ndim
        reaction = None if self.gain == 0.0 else np.full((), self.gain, self.squared.dtype)
        return flux_operator(self.grid, (one,) * self.grid.ndim, walls, reaction=reaction, scale=self.squared)

    def vector_field(self, t: Any, u: kp.WaveState, args: Any = None) -> kp.WaveState:
        """`(v, A u)`."""
        return kp.WaveState(u.velocity, self.operator().mv(u.displacement))


class Case(NamedTuple):
    """What is static: nodes along each axis, the stencil, the time at the end."""

    size: int
    stencil: str
    horizon: float

    @property
    def grid(self) -> kp.Grid:
        """Cells whose centres are the nodes of `linspace(0, 1, size)`."""
        half = 0.5 / (self.size - 1)
        return kp.Grid((self.size, self.size), (-half, -half), (1.0 + half, 1.0 + half))

    def equation(self, squared: Array) -> Wave:
        """The equation of a squared coefficient."""
        return Wave(self.grid, squared, 2.0 * (self.size - 1) ** 2 if self.stencil == "paper" else 0.0)

    def first_order(self, squared: Array) -> kp.BlockOperator:
        """`[[0, I], [A, 0]]` on a `WaveState`."""
        operator = self.equation(squared).operator()
        identity = lx.IdentityLinearOperator(jax.ShapeDtypeStruct(squared.shape, squared.dtype))
        return kp.BlockOperator(((None, identity), (operator, None)), like=kp.WaveState(0, 0))
