"""Data that an experiment carries: every loss takes them where none are given, with their mask."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from krylovpde.inverse import Huber, LeastSquares, LogData, NormalisedCorrelation, StudentT

_LOSSES = [LeastSquares, Huber, StudentT, LogData, NormalisedCorrelation]


class Carrying(eqx.Module):
    """What an experiment with data looks like to a loss."""

    data: jax.Array
    sigma: jax.Array

    def __call__(self, model):
        return model * jnp.arange(1.0, 5.0)

    @property
    def measurements(self):
        return self.data, self.sigma


_EXPERIMENT = Carrying(jnp.asarray([1.0, 2.5, jnp.nan, 3.5]), jnp.asarray([0.1, 0.2, jnp.inf, 0.3]))
_MODEL = jnp.asarray(1.2)


@pytest.mark.parametrize("kind", _LOSSES)
def test_carried_data_are_those_given(kind):
    carried, given = kind(_EXPERIMENT), kind(_EXPERIMENT, *_EXPERIMENT.measurements)
    assert carried(_MODEL) == given(_MODEL) > 0
    assert carried.num_data == 3
    assert bool(jnp.isfinite(jax.grad(carried)(_MODEL)))


@pytest.mark.parametrize("kind", _LOSSES)
def test_another_sigma_keeps_the_mask(kind):
    loss = kind(_EXPERIMENT, sigma=0.5)
    again = kind(_EXPERIMENT, _EXPERIMENT.data, jnp.asarray([0.5, 0.5, jnp.inf, 0.5]))
    assert loss.num_data == 3
    assert loss(_MODEL) == again(_MODEL)


@pytest.mark.bad_input
@pytest.mark.parametrize("kind", _LOSSES)
def test_messages_name_the_loss(kind):
    with pytest.raises(ValueError, match=f"^{kind.__name__}: no data were given and predict, a function, carries none"):
        kind(lambda model: model)
    with pytest.raises(ValueError, match=f"^{kind.__name__}: data were given without sigma"):
        kind(_EXPERIMENT, np.ones(4))
    with pytest.raises(ValueError, match=f"^{kind.__name__}: sigma must be positive"):
        kind(_EXPERIMENT, np.ones(4), 0.0)
    with pytest.raises(ValueError, match=f"^{kind.__name__}: 1 of 4 data are not finite"):
        kind(_EXPERIMENT, np.array([1.0, np.nan, 1.0, 1.0]), 0.1)
    with pytest.raises(ValueError, match=rf"^{kind.__name__}: predict\(model\) has the shape \(4,\)"):
        kind(_EXPERIMENT, np.ones(3), 0.1)(_MODEL)
