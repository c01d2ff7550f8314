"""What a fit did, iteration by iteration, and what it returns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, PyTree


@dataclass(frozen=True)
class Record:
    """One iteration of a fit, as plain numbers. Iteration 0 is the starting model.

    - `value`: the loss at the model that the iteration left.
    - `misfit`: `χ²/N` of the data there; NaN for a loss without data.
    - `gradient_norm`: Euclidean norm of the gradient with respect to the free numbers; those that sit on a limit of a
        `Box` and are pushed against it do not count.
    - `evaluations`: evaluations of the loss so far, line searches included.
    - `jacobian_products`, `transposed_products`: products of the residual's Jacobian, and of its transpose, with a
        vector so far: `GaussNewton`'s cost beside the evaluations. 0 for optimisers that make none one by one.
    - `accepted`: whether the iteration moved the model.
    - `seconds`: wall time since the fit began, compilation included.
    - `diagnostics`: the user's own quantities (`fit(..., diagnostics=...)`).
    """

    iteration: int
    value: float
    misfit: float
    gradient_norm: float
    evaluations: int
    accepted: bool
    seconds: float
    diagnostics: Mapping[str, float] = field(default_factory=dict)
    jacobian_products: int = 0
    transposed_products: int = 0


@dataclass(frozen=True)
class History:
    """The records of a fit; `history.value`, `.misfit`, ... are arrays over the iterations."""

    records: tuple[Record, ...] = ()

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Record:
        return self.records[index]

    def append(self, record: Record) -> "History":
        """A history that is one record longer."""
        return History((*self.records, record))

    @property
    def value(self) -> Float[np.ndarray, " iterations"]:
        """The loss."""
        return np.array([record.value for record in self.records])

    @property
    def misfit(self) -> Float[np.ndarray, " iterations"]:
        """`χ²/N` of the data."""
        return np.array([record.misfit for record in self.records])

    @property
    def gradient_norm(self) -> Float[np.ndarray, " iterations"]:
        """The norm of the gradient."""
        return np.array([record.gradient_norm for record in self.records])

    @property
    def seconds(self) -> Float[np.ndarray, " iterations"]:
        """Wall time since the fit began."""
        return np.array([record.seconds for record in self.records])

    def diagnostic(self, name: str) -> Float[np.ndarray, " iterations"]:
        """One of the user's own quantities."""
        return np.array([record.diagnostics[name] for record in self.records])

    def table(self) -> str:
        """The iterations as a table of plain text, one line each; columns that say nothing are left out."""
        columns = [_column(name, [pick(record) for record in self.records], form) for name, pick, form in _COLUMNS]
        names = self.records[0].diagnostics if self.records else ()
        columns += [_column(name, list(self.diagnostic(name)), "{:.4g}") for name in names]
        columns.append(_column("", ["" if record.accepted else "rejected" for record in self.records], "{}"))
        return "\n".join("  ".join(cells).rstrip() for cells in zip(*filter(None, columns), strict=True))


_COLUMNS: tuple[tuple[str, Callable[[Record], Any], str], ...] = (
    ("iteration", lambda record: record.iteration, "{}"),
    ("loss", lambda record: record.value, "{:.6e}"),
    ("χ²/N", lambda record: record.misfit, "{:.4f}"),
    ("|gradient|", lambda record: record.gradient_norm, "{:.2e}"),
    ("evaluations", lambda record: record.evaluations, "{}"),
    ("J products", lambda record: record.jacobian_products, "{}"),
    ("Jᵀ products", lambda record: record.transposed_products, "{}"),
    ("seconds", lambda record: record.seconds, "{:.1f}"),
)
_SILENT = {"χ²/N": "nan", "J products": "0", "Jᵀ products": "0", "": ""}


def _column(name: str, values: Sequence[Any], form: str) -> list[str] | None:
    """The cells of a column, its name first, or nothing where every one of them says nothing."""
    cells = [form.format(value) for value in values]
    if all(cell == _SILENT.get(name) for cell in cells):
        return None
    width = max(map(len, (name, *cells)))
    return [cell.rjust(width) for cell in (name, *cells)]


@dataclass(frozen=True)
class FitResult:
    """What `fit` returns.

    - `model`: the best model found, like the starting model. After a failure it is the best one before it.
    - `history`: a record for each iteration, the starting model first.
    - `reason`: why the fit ended, in words.
    - `stopped_by`: the stop rule that ended it, or `None` (the optimiser's own criterion, a failure, an interruption).
    - `failed`: whether it ended because it could not go on: a failed solve, a loss that stayed non-finite.
    """

    model: PyTree
    history: History
    reason: str
    stopped_by: object | None
    failed: bool
