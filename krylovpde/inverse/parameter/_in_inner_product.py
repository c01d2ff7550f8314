"""An unknown whose raw numbers are Euclidean."""

import equinox as eqx
from jaxtyping import Array, ArrayLike, Float, Shaped

from ..inner_product import AbstractInnerProduct
from ._base import AbstractParameter, Raw, as_raw, like, structure_of, value_of, with_value_of


class InInnerProduct(AbstractParameter):
    r"""`value = S raw`: makes any optimiser work in an inner product of fields.

    With `S Sᵀ` the Riesz map, the Euclidean length of `raw` is the norm of the field, its Euclidean gradient is the
    field's gradient in the inner product, and a step of steepest descent is the one preconditioned with the Riesz map.
    The same holds for L-BFGS and for the conjugate gradients of Gauss–Newton, which know of nothing but Euclid:
    their iterations do not grow with the number of cells then. Adam scales each raw number by itself, which no inner
    product describes; it gains the smoothing, not the independence of the mesh, and its rate is one of
    `sqrt(volume) × value`.

        field = kp.inverse.InInnerProduct.from_value(log_speed, kp.inverse.H1(grid, 0.1))
        model = SpeedModel(kp.inverse.Positive(field), grid)

    **Arguments:**

    - `raw`: numbers of the field's shape, or a parameter with such a value. `InInnerProduct.from_value` makes them.
    - `inner_product`: `L2(grid)`, `H1(grid, length)`, `Euclidean()`.
    """

    raw: Raw = eqx.field(converter=as_raw)
    inner_product: AbstractInnerProduct

    @classmethod
    def from_value(cls, value: Float[ArrayLike, "..."], inner_product: AbstractInnerProduct) -> "InInnerProduct":
        """The parameter whose value is `value`, a field."""
        return cls(inner_product.solve_factor(as_raw(value)), inner_product)

    @property
    def value(self) -> Float[Array, "..."]:
        """`S raw`."""
        return self.inner_product.factor(value_of(self.raw))

    def with_value(self, value: Shaped[ArrayLike, "..."]) -> "InInnerProduct":
        structure = structure_of(self.raw)
        wanted = like(value, structure.shape, structure.dtype, "InInnerProduct.with_value(value)")
        return InInnerProduct(with_value_of(self.raw, self.inner_product.solve_factor(wanted)), self.inner_product)
