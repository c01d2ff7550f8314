"""Acoustic full-waveform inversion of Marmousi2: the speed of sound under the sea floor, from recorded pressure.

    u_tt = c(z, x)² lap u + f(x) w(t)

Sources and receivers near the surface, absorbing layers on all sides (above the water, too: no surface multiples). Data
are made on cells of 20 m; the model has cells of 40 m, low frequencies are computed on 80 m. From the smooth model and
3 Hz to 8 Hz, by L-BFGS between bounds, the water known. Started again, it goes on where it was.

    python examples/marmousi.py [--data DIR] [--folder FOLDER] [--batch N] [--figure FILE] [--small]
"""

import argparse
import dataclasses
import os
import resource
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import krylovpde as kp
from krylovpde.plot import triptych

FILES = [f"marmousi2/marmousi_vp_{name}20m_176x851.bin" for name in ("", "smooth_")]
STEP, WATER = 0.02, 460.0  # seconds between samples, metres of water
# The corner of the low-pass filter in Hz, metres per cell for the waves, iterations.
STAGES = [(3.0, 80.0, 10), (4.5, 40.0, 8), (6.0, 40.0, 8), (8.0, 40.0, 8)]


# --8<-- [start:model]
def wave(speed: jax.Array, width: float, origin: float = -20.0) -> kp.Wave:
    """A model with its corner at the origin, 160 m more of water above it and absorbing layers around."""
    layer, above = (max(20, round(800.0 / width)), round(160.0 / width))
    speed = jnp.pad(speed, ((layer + above, layer), (layer, layer)), mode="edge")
    lower = np.array([origin - (layer + above) * width, origin - layer * width])
    grid = kp.Grid(speed.shape, lower, lower + width * np.array(speed.shape))
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
        cells = [round(n * 40.0 / self.width) for n in self.change.shape]
        return wave(jax.image.resize(self.speed, cells, "linear"), self.width)


# --8<-- [end:model]
def low_pass(values: np.ndarray, corner: float) -> np.ndarray:
    """Half the amplitude at the corner, without delay, along the second axis: the same for wavelet and data."""
    response = np.exp(-np.log(2.0) * (np.fft.rfftfreq(512, STEP) / corner) ** 4)
    return np.fft.irfft(np.fft.rfft(values, 512, 1) * response[:, None], 512, 1)[:, : values.shape[1]]


# --8<-- [start:survey]
def survey(
    grid: kp.Grid, corner: float, places: np.ndarray, count: int, degree: int, batch: int | None
) -> kp.inverse.Experiments:
    """All shots: sources 50 m wide at a depth of 40 m, Ricker's wavelet of 5 Hz, receivers every 80 m."""
    phase = (np.pi * 5.0 * (np.arange(61) * STEP - 0.6)) ** 2
    wavelet = low_pass(((1.0 - 2.0 * phase) * np.exp(-phase))[None, :, None], corner)[0, :, 0]
    signal = kp.Sampled(np.arange(62) * STEP, np.append(wavelet, 0.0))
    z, x = map(jnp.asarray, grid.coordinates)
    source = eqx.filter_vmap(lambda at: kp.Source(jnp.exp(-((z - 40.0) ** 2 + (x - at) ** 2) / 5000.0), signal))
    rest = jnp.zeros((places.size, *grid.shape))
    experiment = kp.inverse.Experiment(
        initial=kp.WaveState(rest, rest),
        times=jnp.arange(count + 1) * STEP,
        observe=kp.Sensors(grid, [(40.0, at) for at in np.arange(0.0, places[-1] / 0.97, 80.0)]),
        source=source(jnp.asarray(places)),
        options={"rtol": 1e-3, "method": kp.Faber(max_degree=degree), "throw": False},
    )
    return kp.inverse.Experiments(experiment, batch_size=batch)


# --8<-- [end:survey]
def main():
    """Make or read the data, invert stage by stage, print and draw."""
    parser = argparse.ArgumentParser(description="Full-waveform inversion of Marmousi2.")
    default = os.environ.get("KRYLOVPDE_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=Path(default), help="the folder that holds marmousi2")
    parser.add_argument("--folder", type=Path, default=Path("results/marmousi"), help="for the data and where it was")
    parser.add_argument("--figure", type=Path, default=Path("results/marmousi.png"))
    parser.add_argument("--batch", type=int, help="shots side by side; left out, one by one: on a CPU faster")
    parser.add_argument("--small", action="store_true", help="a corner of the model and two iterations, as a test")
    options = parser.parse_args()
    # Absorbed waves take half as many applications as in single precision: digits are room for growth.
    jax.config.update("jax_enable_x64", True)
    invert(options, *read(options.data), STAGES[:2] if options.small else STAGES)


def read(folder: Path) -> list[np.ndarray]:
    """Truth and smooth start on 20 m; ends the program if they are not there."""
    if not all((folder / name).is_file() for name in FILES):
        sys.exit(f"marmousi: {folder} lacks {' or '.join(FILES)} (microsoft/AzureClusterlessHPC.jl, folder data).")
    models = [np.fromfile(folder / name, "<f4").reshape(851, 176).T.astype(float) for name in FILES]
    return [np.clip(model, 1500.0, 4799.0) for model in models]


def invert(options, truth: np.ndarray, start: np.ndarray, stages: list):
    """The data, then stage by stage, then the figure."""
    rows, columns, seconds, shots, degree = (22, 54, 1.0, 2, 1024) if options.small else (88, 426, 4.4, 16, 4096)
    places, count = np.linspace(0.03, 0.97, shots) * (columns - 1) * 40.0, round(seconds / STEP)
    recorded, truth, start = options.folder / "data.npy", truth[: 2 * rows, : 2 * columns], start[::2, ::2]
    options.folder.mkdir(parents=True, exist_ok=True)
    if not recorded.is_file():
        fine = wave(jnp.asarray(truth), 20.0, -10.0)
        # Recorded for longer than is used: the filter must not see the end.
        np.save(recorded, eqx.filter_jit(survey(fine.grid, 99.0, places, count + 30, 2 * degree, options.batch))(fine))
    truth, start, data = truth[::2, ::2], start[:rows, :columns], np.load(recorded)
    depth, place = np.meshgrid(*(np.arange(n) * 40.0 for n in truth.shape), indexing="ij")
    # The lit part: below the water, above 3 km, not nearer than 1.5 km (small: 0.2 km) to the ends of the line.
    margin = 200.0 if options.small else 1500.0
    lit = (depth > WATER) & (depth < 3000.0) & (np.minimum(place, place[:, ::-1]) > margin)
    gain = np.where(depth > WATER, (depth - WATER + 300.0) / 225.0, 0.0)
    logit, percent = np.log(start - 1450.0) - np.log(4800.0 - start), 100.0 / np.linalg.norm((start - truth)[lit])
    earth = Earth(jnp.zeros(truth.shape), kp.inverse.Fixed(logit), kp.inverse.Fixed(gain), 40.0)
    for corner, width, iterations in stages:
        earth = dataclasses.replace(earth, width=width)
        predict = survey(earth.equation().grid, corner, places, count, degree, options.batch)
        measured = low_pass(data, corner)[:, : count + 1]
        # Traces count alike, but for those that hardly see anything; their number does not count.
        size = np.sqrt(np.mean(measured**2, axis=1, keepdims=True))
        sigma = np.maximum(size, 0.03 * size.max(axis=2, keepdims=True)) * np.sqrt(measured.size / 1000.0)
        loss = kp.inverse.LeastSquares(predict, measured, np.broadcast_to(sigma, measured.shape))
        if corner == stages[-1][0]:
            print(f"{kp.inverse.memory_formula(loss, earth)}; batch size {options.batch}")
        earth = kp.inverse.fit(
            loss,
            earth,
            optax.lbfgs(linesearch=optax.scale_by_zoom_linesearch(6, initial_guess_strategy="one")),
            max_iterations=1 if options.small else iterations,
            checkpoint=kp.inverse.Checkpoint(options.folder / f"fit_{corner:g}Hz.npz"),
            diagnostics={"error %": lambda earth: percent * jnp.linalg.norm(jnp.where(lit, earth.speed - truth, 0.0))},
        ).model
        np.save(options.folder / f"speed_{corner:g}Hz.npy", earth.speed)
    print(f"measured for the whole process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")
    figure, axes = plt.subplots(3, figsize=(8, 7), layout="constrained")
    upwards = kp.Grid((columns, rows), (0.0, -0.04 * rows), (0.04 * columns, 0.0))
    fields = [np.asarray(field).T[:, ::-1] for field in (truth, start, earth.speed)]
    triptych(axes, upwards, *fields, label="speed", unit="m/s", length_unit="km")
    options.figure.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.figure, dpi=150)


if __name__ == "__main__":
    main()
