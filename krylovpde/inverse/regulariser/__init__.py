"""Penalties: what is believed of a field before the data are seen. They are losses, and are added to the data's.

Each takes `field(model)`, the field that it speaks of, for example `lambda model: model.speed.value`. The integrals are
weighted by the grid's volumes, so `weight` keeps its meaning when the grid is refined. `Gaussian` is for few numbers.
"""

from ._bi_laplacian import BiLaplacian as BiLaplacian
from ._gaussian import Gaussian as Gaussian
from ._prior import AbstractPrior as AbstractPrior
from ._tikhonov import Tikhonov as Tikhonov
from ._total_variation import TotalVariation as TotalVariation
