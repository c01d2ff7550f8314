"""What a check found."""

from dataclasses import dataclass


class InversionWarning(UserWarning):
    """An inversion that will run, and mislead. `warnings.simplefilter("error", InversionWarning)` makes it an error."""


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with an inversion.

    - `check`: `"tolerance"`, `"inverse crime"` or `"rate"`.
    - `message`: what was found, and what to do.
    - `path`: where in the model, for a finding about one parameter.
    """

    check: str
    message: str
    path: str = ""

    def __str__(self) -> str:
        """The message."""
        return self.message
