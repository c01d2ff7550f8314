"""One row of the comparison."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Competitor:
    """A method with all its settings.

    `solve`: `coefficient -> (field at the end, applications of the operator or None)`, which JAX differentiates.
    `run`: instead of `solve`, for what has no gradient: the same, by NumPy. What it prepares is not timed.
    `with_gradient`: applications of the operator and of its transpose for value and gradient, where they are known.
    """

    method: str
    adjoint: str
    tolerance: str
    solve: Callable[[Any], tuple[Any, Any]] | None = None
    run: Callable[[], Callable[[], tuple[Any, Any]]] | None = None
    with_gradient: Callable[[], int] | None = None

    @property
    def label(self) -> str:
        """Its name in one line."""
        return ", ".join(part for part in (self.method, self.adjoint, self.tolerance) if part)
