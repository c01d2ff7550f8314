"""A field seen through a Gaussian."""

import equinox as eqx
from jaxtyping import Array, Float

from ...grid import AbstractGrid
from ...integrate import expm_multiply
from ...operator import Laplacian
from ._base import AbstractParameter, value_of


class Smoothed(AbstractParameter):
    """`value = exp(½ length² lap) parameter.value`: another parameter seen through a Gaussian of width `length`.

    The heat equation is the smoother, so it works on every grid, conserves the mean, and (no flux through the walls)
    keeps bounds: a `Bounded` field stays bounded, a `Positive` one positive. Two effects on a fit: the field cannot
    hold detail finer than `length`, and gradients come smoothed, which conditions the problem for L-BFGS. A few cells,
    or a quarter of the shortest wavelength, are good lengths. Costs about `3 length / cell size` applications of a
    Laplacian.

    **Arguments:**

    - `parameter`: an `AbstractParameter` or an array, of `grid.shape`.
    - `grid`: where the field lives.
    - `length`: the standard deviation of the Gaussian, in the grid's unit of length; 0 smooths nothing.
    """

    parameter: AbstractParameter | Float[Array, "..."]
    grid: AbstractGrid
    length: float = eqx.field(static=True, converter=float)

    @property
    def value(self) -> Float[Array, "..."]:
        """The smoothed field."""
        rough = value_of(self.parameter)
        if self.length == 0.0:
            return rough
        laplacian = Laplacian(self.grid, dtype=rough.dtype)
        return expm_multiply(laplacian, rough, 0.5 * self.length**2).value
