"""What can be known to be wrong with an inversion before it runs. One check per file."""

from ._certify import certify as certify, findings_of as findings_of, warn_of as warn_of
from ._finding import Finding as Finding, InversionWarning as InversionWarning
