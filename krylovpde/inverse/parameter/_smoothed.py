"""A field seen through a Gaussian."""

import equinox as eqx
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Shaped

from ...functions import LaplacianFunctions
from ...grid import AbstractGrid
from ...integrate import expm_multiply
from ...operator import Laplacian
from ._base import AbstractParameter, like, structure_of, value_of, with_value_of

# The part of a field that was smoothed to less than this fraction of itself is not brought back by `with_value`.
_LEAST_DAMPING = 1e-2


class Smoothed(AbstractParameter):
    """`value = exp(½ length² lap) parameter.value`: another parameter seen through a Gaussian of width `length`.

    The heat equation is the smoother, so it works on every grid, conserves the mean, and (no flux through the walls)
    keeps bounds: a `Bounded` field stays bounded, a `Positive` one positive. Two effects on a fit: the field cannot
    hold detail finer than `length`, and gradients come smoothed, which conditions the problem for L-BFGS. A few cells,
    or a quarter of the shortest wavelength, are good lengths. Costs about `3 length / cell size` applications of a
    Laplacian.

    `with_value` undoes the Gaussian where it has left more than some hundredths of a wave, in wavelengths longer than
    about two and a half `length`: to the solver's tolerance for fields of such waves. Shorter ones would need free
    numbers hundreds of times as large and are left out. Of a value with sharp edges it makes one that overshoots: near
    limits, smooth it first.

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

    def with_value(self, value: Shaped[ArrayLike, "..."]) -> "Smoothed":
        wanted = like(value, self.grid.shape, structure_of(self.parameter).dtype, "Smoothed.with_value(value)")
        if self.length > 0.0:
            wanted = LaplacianFunctions(self.grid, self.length).apply(_undo, wanted)
        return Smoothed(with_value_of(self.parameter, wanted), self.grid, self.length)


def _undo(x: np.ndarray) -> np.ndarray:
    r"""The inverse of `exp(-x/2)`, bounded: `exp(x/2) (1 - (1 - exp(-x))^N)`.

    That is what `N = _LEAST_DAMPING^{-2}` steps of Landweber's iteration for the least-squares problem make, in closed
    form: an entire function, which a Chebyshev series takes, too.
    """
    x = np.minimum(x, 600.0)  # where it is zero to rounding, without an overflow
    with np.errstate(divide="ignore"):
        left = _LEAST_DAMPING**-2 * np.log1p(-np.exp(-x))
    return np.exp(x / 2) * -np.expm1(left)
