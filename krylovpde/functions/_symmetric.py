"""What all symmetric matrices of this folder have in common."""

from typing import Any

from .._custom_types import Structure
from ..operator import AbstractOperator, self_adjoint_tag


class AbstractSymmetricOperator(AbstractOperator):
    """Self-adjoint in the Euclidean inner product, and its own transpose.

    A concrete one gives `mv` and `in_structure`, and a `spectral_bound` where it knows one.
    """

    def transpose(self) -> "AbstractSymmetricOperator":
        """Itself."""
        return self

    def out_structure(self) -> Structure:
        """The same as `in_structure`."""
        return self.in_structure()

    @property
    def weight(self) -> None:
        """Euclidean."""
        return

    @property
    def spectral_bound(self) -> Any:
        """None that is known."""
        return None

    @property
    def tags(self) -> frozenset[object]:
        """Self-adjoint."""
        return frozenset([self_adjoint_tag])
