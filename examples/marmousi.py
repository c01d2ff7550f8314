"""Acoustic full-waveform inversion of Marmousi2: the speed of sound under the sea floor, from recorded pressure.

    u_tt = c(z, x)² lap u + f(x) w(t)

Sources and receivers near the surface, absorbing layers on all sides (above the water, too: no surface multiples). Data
are made on cells of 20 m; the model has cells of 40 m, up to 5 Hz waves are computed on 60 m. From the smooth model and
3 Hz to 8 Hz, by L-BFGS between bounds, the water known. Started again, it goes on where it was.

    python examples/marmousi.py [--data DIR] [--folder FOLDER] [--devices N] [--output FILE] [--small]
"""

import dataclasses
import os
import resource
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from measured import arguments, existing, save
from seismic import STEP, Earth, low_pass, survey, wave

import krylovpde as kp
from krylovpde.plot import triptych

FILES = [f"marmousi2/marmousi_vp_{name}20m_176x851.bin" for name in ("", "smooth_")]
WATER = 460.0  # metres
# The corner of the low-pass filter in Hz, metres per cell for the waves, iterations.
STAGES = [(3.0, 60.0, 12), (5.0, 60.0, 14), (8.0, 40.0, 14)]


def main():
    """Make or read the data, invert stage by stage, print and draw."""
    parser = arguments("marmousi", "Full-waveform inversion of Marmousi2.")
    parser.add_argument("--folder", type=Path, default=Path("results/marmousi"), help="for the data and where it was")
    parser.add_argument("--devices", type=int, default=min(2, os.cpu_count() or 1), help="shots at the same time")
    parser.add_argument("--small", action="store_true", help="a corner of the model and two iterations, as a test")
    options = parser.parse_args()
    # Truth and smooth start on 20 m.
    paths = [existing(options.data / name, "microsoft/AzureClusterlessHPC.jl, folder data") for name in FILES]
    models = [np.fromfile(path, "<f4").reshape(851, 176).T.astype(float) for path in paths]
    # One shot to each core: the operations are too small to be shared out.
    jax.config.update("jax_num_cpu_devices", options.devices)
    # Absorbed waves take half as many applications as in single precision: digits are room for growth.
    jax.config.update("jax_enable_x64", True)
    invert(options, *(np.clip(model, 1500.0, 4799.0) for model in models), STAGES[:2] if options.small else STAGES)


def invert(options, truth: np.ndarray, start: np.ndarray, stages: list):
    """The data, then stage by stage, then the figure."""
    rows, columns, seconds, shots, degree = (22, 54, 1.0, 2, 1024) if options.small else (88, 426, 3.8, 16, 4096)
    places, count = np.linspace(0.03, 0.97, shots) * (columns - 1) * 40.0, round(seconds / STEP)
    options.folder.mkdir(parents=True, exist_ok=True)
    records = [options.folder / "recorded.npy", options.folder / "of_start.npy"]
    for path, speed in zip(records, (truth, start), strict=True):
        if not path.is_file():
            fine = wave(jnp.asarray(speed[: 2 * rows, : 2 * columns]), 20.0, 20.0)
            # For longer than is used: the filter must not see the end.
            record = survey(fine.grid, 99.0, places, count + 30, 2 * degree, options.devices)
            np.save(path, eqx.filter_jit(record)(fine))
    truth, start = truth[: 2 * rows : 2, : 2 * columns : 2], start[: 2 * rows : 2, : 2 * columns : 2]
    difference = np.load(records[0]) - np.load(records[1])
    depth, place = np.meshgrid(*(np.arange(n) * 40.0 for n in truth.shape), indexing="ij")
    # The lit part: below the water, above 3 km, not nearer than 1.5 km (small: 0.2 km) to the ends of the line.
    margin = 200.0 if options.small else 1500.0
    lit = (depth > WATER) & (depth < 3000.0) & (np.minimum(place, place[:, ::-1]) > margin)
    gain = np.where(depth > WATER, (depth - WATER + 300.0) / 225.0, 0.0)
    logit, percent = np.log(start - 1450.0) - np.log(4800.0 - start), 100.0 / np.linalg.norm((start - truth)[lit])
    first = earth = Earth(jnp.zeros(truth.shape), kp.inverse.Fixed(logit), kp.inverse.Fixed(gain), 40.0)
    for corner, width, iterations in stages:
        first, earth = (dataclasses.replace(model, width=width) for model in (first, earth))
        predict = survey(earth.equation().grid, corner, places, count, degree, options.devices)
        # What is fitted is how the records differ from those of the start, on grids that are each other's: in the water
        # alone a wave of 8 Hz is late by 2 % on 40 m, which is a whole period over the line.
        wanted, of_start = low_pass(difference, corner)[:, : count + 1], eqx.filter_jit(predict)(first)
        # Traces count alike, but for those that hardly see anything; their number does not count.
        size = np.sqrt(np.mean(wanted**2, axis=1, keepdims=True))
        sigma = np.maximum(size, 0.03 * size.max(axis=2, keepdims=True)) * np.sqrt(wanted.size / 1000.0)
        loss = kp.inverse.LeastSquares(predict, of_start + wanted, np.broadcast_to(sigma, wanted.shape))
        if corner == stages[-1][0]:
            print(f"memory needed for a gradient: {kp.inverse.memory_needed(loss, earth) / 1e9:.2f} GB")
        earth = kp.inverse.fit(
            loss,
            earth,
            optax.lbfgs(linesearch=optax.scale_by_zoom_linesearch(6, initial_guess_strategy="one")),
            max_iterations=1 if options.small else iterations,
            # The certificate takes rtol for the error. Faber's is 1e-8 of sigma, by rtol = 1e-6 on the small corner.
            certified=False,
            checkpoint=kp.inverse.Checkpoint(options.folder / f"fit_{corner:g}Hz.npz"),
            diagnostics={"error %": lambda earth: percent * jnp.linalg.norm(jnp.where(lit, earth.speed - truth, 0.0))},
        ).model
        np.save(options.folder / f"speed_{corner:g}Hz.npy", earth.speed)
    print(f"measured for the whole process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")
    figure, axes = plt.subplots(3, figsize=(8, 7), layout="constrained")
    upwards = kp.Grid((columns, rows), (0.0, -0.04 * rows), (0.04 * columns, 0.0))
    fields = [np.asarray(field).T[:, ::-1] for field in (truth, start, earth.speed)]
    triptych(axes, upwards, *fields, label="speed", unit="m/s", length_unit="km")
    save(figure, options.output)


if __name__ == "__main__":
    main()
