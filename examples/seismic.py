"""Waves under the sea: the speed of sound as a model, and shots recorded along a line.

    u_tt = c(z, x)² lap u + f(x) w(t)

Absorbing layers on all sides (above the water, too: no surface multiples). Metres and seconds.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import krylovpde as kp

STEP = 0.02  # seconds between samples


# --8<-- [start:model]
def wave(speed: jax.Array, spacing: float, width: float) -> kp.Wave:
    """Cells of some width around a model whose corner is the origin: a cell's centre at the receivers' depth and at 0.

    160 m more of water above, absorbing layers on all sides.
    """
    layer, above = max(14, round(600.0 / width)), round(200.0 / width)
    shape = [2 * layer + 1 + math.ceil(spacing * (n - 1) / width) for n in speed.shape]
    shape[0] += above
    lower = np.array([40.0 - (above + layer + 0.5) * width, -(layer + 0.5) * width])
    grid = kp.Grid(tuple(shape), lower, lower + width * np.array(shape))
    places = [jnp.asarray(axis) / spacing for axis in grid.coordinates]
    speed = jax.scipy.ndimage.map_coordinates(speed, jnp.broadcast_arrays(*places), order=1, mode="nearest")
    return kp.Wave(grid, speed, boundary=kp.Absorbing(layer), accuracy=4)


class Earth(eqx.Module):
    """The speed on 40 m. What is sought is a change of its logit, larger where it is deeper, none in the water."""

    change: jax.Array
    start: kp.inverse.Fixed
    gain: kp.inverse.Fixed
    width: float = eqx.field(static=True)

    @property
    def speed(self) -> jax.Array:
        return kp.inverse.Bounded(self.start.value + self.gain.value * self.change, 1450.0, 4800.0).value

    def equation(self) -> kp.Wave:
        return wave(self.speed, 40.0, self.width)


# --8<-- [end:model]
def low_pass(values: np.ndarray, corner: float) -> np.ndarray:
    """Half the amplitude at the corner, without delay, along the second axis: the same for wavelet and data."""
    response = np.exp(-np.log(2.0) * (np.fft.rfftfreq(512, STEP) / corner) ** 4)
    return np.fft.irfft(np.fft.rfft(values, 512, 1) * response[:, None], 512, 1)[:, : values.shape[1]]


# --8<-- [start:survey]
def survey(
    grid: kp.Grid, corner: float, places: np.ndarray, count: int, degree: int, devices: int
) -> kp.inverse.Experiments:
    """All shots: sources 50 m wide at a depth of 40 m, Ricker's wavelet of 5 Hz, receivers every 120 m."""
    phase = (np.pi * 5.0 * (np.arange(61) * STEP - 0.6)) ** 2
    wavelet = low_pass(((1.0 - 2.0 * phase) * np.exp(-phase))[None, :, None], corner)[0, :, 0]
    signal = kp.Sampled(np.arange(62) * STEP, np.append(wavelet, 0.0))
    z, x = map(jnp.asarray, grid.coordinates)
    source = eqx.filter_vmap(lambda at: kp.Source(jnp.exp(-((z - 40.0) ** 2 + (x - at) ** 2) / 5000.0), signal))
    rest = jnp.zeros((places.size, *grid.shape))
    experiment = kp.inverse.Experiment(
        initial=kp.WaveState(rest, rest),
        times=jnp.arange(count + 1) * STEP,
        observe=kp.Sensors(grid, [(40.0, at) for at in np.arange(0.0, places[-1] / 0.97, 120.0)]),
        source=source(jnp.asarray(places)),
        options={"rtol": 1e-3, "method": kp.Faber(max_degree=degree), "throw": False},
    )
    return kp.inverse.Experiments(experiment, num_devices=devices)


# --8<-- [end:survey]
