"""How an action is differentiated: one strategy per file."""

from ._base import AbstractAdjoint as AbstractAdjoint, Report as Report, check_pair as check_pair
from ._checkpointed import CheckpointedAdjoint as CheckpointedAdjoint
from ._direct import DirectAdjoint as DirectAdjoint
from ._iteration import IterationAdjoint as IterationAdjoint
from ._reversible import ReversibleAdjoint as ReversibleAdjoint
from ._rules import Arguments as Arguments, pull_with_times as pull_with_times
from ._tangent import TangentOperator as TangentOperator
from ._two_sided import TwoSidedAdjoint as TwoSidedAdjoint
