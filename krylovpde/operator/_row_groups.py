"""Rows of a sparse matrix in groups of similar length, so that padding them to one width costs little."""

import numpy as np

_MOST_GROUPS = 4
# What a group costs beside its entries, in gathers: a program of its own, started once for each application.
_GROUP_COST = 4000.0
# More distinct lengths than these are rounded up to some of them before the best groups are sought.
_MOST_LENGTHS = 64


def group_by_length(counts: np.ndarray) -> list[np.ndarray]:
    """The rows of each group, in order; a single group means all rows as they stand.

    The groups minimise the padded entries plus what a group costs, by dynamic programming over the distinct lengths.
    Several groups also cost one gather for each row, which puts the results in order.
    """
    if counts.max(initial=0) == 0:
        return []
    lengths, numbers = np.unique(counts, return_counts=True)
    if len(lengths) > _MOST_LENGTHS:
        some = lengths[np.unique(np.linspace(0, len(lengths) - 1, _MOST_LENGTHS).astype(int))]
        rounded = some[np.searchsorted(some, counts)]
        lengths, numbers = np.unique(rounded, return_counts=True)
    cuts, cost = _best_cuts(lengths, numbers)
    if len(cuts) == 1 or cost + len(counts) >= lengths[-1] * len(counts) + _GROUP_COST:
        return [np.arange(len(counts))]
    lower = -1
    members = []
    for upper in cuts:
        members.append(np.flatnonzero((counts > lower) & (counts <= upper)))
        lower = upper
    return members


def _best_cuts(lengths: np.ndarray, numbers: np.ndarray) -> tuple[list[int], float]:
    """The largest length of each group, and the cost; `numbers` rows have each of the `lengths`, which increase."""
    below = np.concatenate([[0], np.cumsum(numbers)])
    # best[g, j]: the least cost of the j shortest lengths in g groups; the last of them begins at last[g, j].
    best = np.full((_MOST_GROUPS + 1, len(lengths) + 1), np.inf)
    last = np.zeros(best.shape, int)
    best[0, 0] = 0.0
    for g in range(1, _MOST_GROUPS + 1):
        for j in range(1, len(lengths) + 1):
            costs = best[g - 1, :j] + (below[j] - below[:j]) * lengths[j - 1] + _GROUP_COST
            last[g, j] = np.argmin(costs)
            best[g, j] = costs[last[g, j]]
    g, j = int(np.argmin(best[:, -1])), len(lengths)
    cost, cuts = float(best[g, j]), []
    while j > 0:
        cuts.append(int(lengths[j - 1]))
        j, g = last[g, j], g - 1
    return cuts[::-1], cost
