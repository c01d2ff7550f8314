"""Inner products of fields: what a gradient is the gradient *in*."""

from ._base import AbstractInnerProduct as AbstractInnerProduct
from ._cameron_martin import CameronMartin as CameronMartin
from ._euclidean import Euclidean as Euclidean
from ._h1 import H1 as H1
from ._l2 import L2 as L2
