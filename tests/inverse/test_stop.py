"""Stop rules look at a history and nothing else."""

import numpy as np
import pytest

from krylovpde.inverse import Discrepancy, GradientNorm, History, MaxIterations, MaxSeconds, Record, Stagnation


def _history(values, *, misfits=None, gradients=None):
    misfits = values if misfits is None else misfits
    gradients = values if gradients is None else gradients
    records = [
        Record(i, value, misfit, gradient, evaluations=i + 1, accepted=True, seconds=2.0 * i, diagnostics={"e": -value})
        for i, (value, misfit, gradient) in enumerate(zip(values, misfits, gradients, strict=True))
    ]
    return History(tuple(records))


def test_history_gives_arrays():
    history = _history([4.0, 2.0, 1.0])
    assert len(history) == 3
    np.testing.assert_array_equal(history.value, [4, 2, 1])
    np.testing.assert_array_equal(history.misfit, [4, 2, 1])
    np.testing.assert_array_equal(history.gradient_norm, [4, 2, 1])
    np.testing.assert_array_equal(history.seconds, [0, 2, 4])
    np.testing.assert_array_equal(history.diagnostic("e"), [-4, -2, -1])
    assert len(history.append(history[0])) == 4
    assert len(history) == 3


@pytest.mark.parametrize(
    ("rule", "goes_on", "stops"),
    [
        (MaxIterations(2), [3.0, 2.0], [3.0, 2.0, 1.0]),
        (MaxSeconds(3.0), [3.0, 2.0], [3.0, 2.0, 1.0]),
        (Discrepancy(), [3.0, 1.01], [3.0, 1.0]),
        (Discrepancy(2.5), [3.0, 2.51], [3.0, 2.5]),
        (GradientNorm(0.1), [3.0, 0.31], [3.0, 0.29]),
        (Stagnation(0.01, window=2), [5.0, 4.0, 3.0, 2.0], [5.0, 4.0, 3.999, 3.998]),
        (Stagnation(0.01, window=2), [3.0, 3.0], [3.0, 3.0, 3.0]),
        (Stagnation(0.01, window=2), [5.0, 9.0, 4.0], [5.0, 9.0, 6.0]),
    ],
)
def test_rules(rule, goes_on, stops):
    assert rule(_history(goes_on)) is None
    assert isinstance(rule(_history(stops)), str)


def test_a_discrepancy_without_data_says_so():
    with pytest.raises(ValueError, match="does not know its misfit"):
        Discrepancy()(_history([1.0], misfits=[np.nan]))
