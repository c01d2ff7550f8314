"""How heavy the penalty is: rules that choose its weight from the data. One rule per file."""

from ._base import AbstractWeightRule as AbstractWeightRule
from ._choose import choose_weight as choose_weight
from ._cooling import Cooling as Cooling
from ._gcv import GCV as GCV
from ._l_curve import LCurve as LCurve
from ._path import WeightPath as WeightPath, WeightPoint as WeightPoint, WeightResult as WeightResult
from ._starting import starting_weight as starting_weight
