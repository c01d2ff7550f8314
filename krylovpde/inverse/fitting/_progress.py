"""How a fit tells what it is doing: plain lines, a bar, or nothing."""

import abc
import sys
from typing import Any

import equinox as eqx
import numpy as np

from ._history import Record


class AbstractProgress(eqx.Module):
    """Told of each iteration of a fit, and of its end."""

    @abc.abstractmethod
    def start(self) -> Any:
        """Open what has to be open; what it returns is handed to the other two."""

    @abc.abstractmethod
    def update(self, handle: Any, record: Record):
        """Tell of one iteration."""

    @abc.abstractmethod
    def close(self, handle: Any, reason: str):
        """Tell of the end."""


class Lines(AbstractProgress):
    """One line of plain text for each iteration: good for terminals, log files and continuous integration.

    **Arguments:**

    - `file`: where to, an open text file; standard output if `None`.
    """

    file: Any = eqx.field(static=True, default=None)

    def start(self) -> Any:
        return sys.stdout if self.file is None else self.file

    def update(self, handle: Any, record: Record):
        # Flushed: a line that comes with the next one is no progress line.
        print(describe(record), file=handle, flush=True)

    def close(self, handle: Any, reason: str):
        print(f"stopped: {reason}", file=handle, flush=True)


class Bar(AbstractProgress):
    """A tqdm bar that carries the same numbers in one line. Needs tqdm (`pip install krylovpde[fit]`).

    **Arguments:**

    - `total`: how many iterations to expect; `None` shows a counter without an end.
    """

    total: int | None = eqx.field(static=True, default=None)

    def start(self) -> Any:
        try:
            from tqdm import tqdm
        except ImportError as error:
            message = "kp.inverse.Bar needs tqdm: pip install krylovpde[fit]. Lines() needs nothing."
            raise ImportError(message) from error
        return tqdm(total=self.total, unit="iteration")

    def update(self, handle: Any, record: Record):
        handle.set_postfix_str(describe(record))
        handle.update(record.iteration - handle.n)  # more than one where a fit goes on from a file

    def close(self, handle: Any, reason: str):
        handle.close()


class Silent(AbstractProgress):
    """No output."""

    def start(self) -> None:
        return None

    def update(self, handle: None, record: Record):
        pass

    def close(self, handle: None, reason: str):
        pass


def describe(record: Record) -> str:
    """The line of one iteration."""
    parts = [f"{record.iteration:4d}", f"loss {record.value:.4e}"]
    if not np.isnan(record.misfit):
        parts.append(f"χ²/N {record.misfit:8.3f}")
    parts.append(f"|gradient| {record.gradient_norm:.2e}")
    parts += [f"{name} {value:.4g}" for name, value in record.diagnostics.items()]
    parts += [f"{record.evaluations:3d} evaluations", f"{record.seconds:6.1f} s"]
    if not record.accepted:
        parts.append("step rejected")
    return "  ".join(parts)
