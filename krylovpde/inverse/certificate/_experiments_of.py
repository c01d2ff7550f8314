"""The terms of a loss that have data, and the experiments that they predict with."""

from typing import Any

import jax.tree_util as jtu

from ..experiment import Experiment
from ..loss import AbstractDataLoss, Total


def data_terms(loss: Any) -> list[Any]:
    """The losses with data in a loss."""
    terms = loss.terms if isinstance(loss, Total) else (loss,)
    return [term for term in terms if isinstance(term, AbstractDataLoss)]


def experiments_of(term: Any) -> list[Experiment]:
    """The experiments in a term, in sets of them, too; none where a function of the user's own predicts."""
    nodes = jtu.tree_leaves(term, is_leaf=lambda node: isinstance(node, Experiment))
    return [node for node in nodes if isinstance(node, Experiment)]
