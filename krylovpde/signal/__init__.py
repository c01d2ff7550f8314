"""Functions of time, one kind per file, and what a source is: a profile in space times one of them."""

from ._base import AbstractSignal as AbstractSignal, AbstractSource as AbstractSource
from ._choose import as_signal as as_signal
from ._pieces import Pieces as Pieces
from ._piecewise import Piecewise as Piecewise
from ._sampled import Sampled as Sampled
from ._smooth import Smooth as Smooth
