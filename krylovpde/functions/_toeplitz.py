"""Symmetric Toeplitz matrices along every axis, by fast Fourier transforms on a grid of twice the size."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Inexact

from .._custom_types import Structure
from ._symmetric import AbstractSymmetricOperator


class ToeplitzOperator(AbstractSymmetricOperator):
    r"""$(T u)_i = \sum_j c_{|i - j|}\, u_j$ for fields on a box, with $|i - j|$ taken along each axis.

    $T$ is a part of a circulant matrix of twice the size along each axis, which a Fourier transform makes diagonal: a
    product costs $O(n \log n)$. Self-adjoint in the Euclidean inner product.

    The spectrum of the circulant matrix is the leaf that derivatives reach; make the operator from the first row by
    `from_first_row`.
    """

    spectrum: Float[Array, "..."]
    shape: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, spectrum: Float[Array, "..."], shape: tuple[int, ...]):
        """From the spectrum of the circulant matrix, as `jax.numpy.fft.rfftn` has it, and the shape of the fields."""
        self.spectrum, self.shape = spectrum, shape

    @classmethod
    def from_first_row(cls, first_row: Float[Array, "..."]) -> "ToeplitzOperator":
        """The operator whose first row is given.

        **Arguments:**

        - `first_row`: $c$, a field: what a unit at the first node becomes.
        """
        row = first_row
        for axis in range(row.ndim):
            # What stands opposite the first node meets no pair of nodes: zero.
            middle = jnp.zeros_like(jax.lax.slice_in_dim(row, 0, 1, axis=axis))
            back = jnp.flip(jax.lax.slice_in_dim(row, 1, None, axis=axis), axis)
            row = jnp.concatenate([row, middle, back], axis)
        return cls(jnp.real(jnp.fft.rfftn(row)), first_row.shape)

    def mv(self, vector: Inexact[Array, "..."]) -> Inexact[Array, "..."]:
        """`T x`."""
        if jnp.iscomplexobj(vector):
            return jax.lax.complex(self.mv(vector.real), self.mv(vector.imag))
        double = tuple(2 * n for n in self.shape)
        image = jnp.fft.rfftn(vector, double)
        image = image * self.spectrum.astype(vector.dtype).astype(image.dtype)
        return jnp.fft.irfftn(image, double)[tuple(slice(n) for n in self.shape)]

    def in_structure(self) -> Structure:
        """A field."""
        return jax.ShapeDtypeStruct(self.shape, self.spectrum.dtype)

    @property
    def spectral_bound(self) -> Float[Array, ""]:
        """That of the circulant matrix."""
        return jnp.max(jnp.abs(self.spectrum))
