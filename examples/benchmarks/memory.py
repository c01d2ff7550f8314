"""What a gradient needs in memory, as XLA plans it and as the system counts it, for the shots of Marmousi2.

    python -m examples.benchmarks.memory [--width 60] [--batch N] [--devices 2]

A process of its own for each setting: what one has had counts for the next.
"""

import argparse
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import krylovpde as kp

sys.path.insert(0, str(Path(__file__).parents[1]))
from seismic import Earth, survey


def status(name: str) -> float:
    """A line of what Linux says about this process, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1e3 for line in lines if line.startswith(name))


def main():
    """One line: planned, measured, their ratio."""
    parser = argparse.ArgumentParser(description="Planned and measured memory of a gradient.")
    parser.add_argument("--width", type=float, default=60.0, help="metres per cell of the waves")
    parser.add_argument("--shots", type=int, default=8)
    parser.add_argument("--batch", type=int, help="shots side by side; left out, one by one")
    parser.add_argument("--devices", type=int, default=1)
    options = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", options.devices)
    jax.config.update("jax_enable_x64", True)
    logit = kp.inverse.Fixed(jnp.zeros((88, 426)))
    earth = Earth(jnp.zeros((88, 426)), logit, kp.inverse.Fixed(jnp.ones((88, 426))), options.width)
    places = np.linspace(510.0, 16490.0, options.shots)
    shots = survey(earth.equation().grid, 3.0, places, 220, 4096, options.devices).with_batch_size(options.batch)
    loss = kp.inverse.LeastSquares(shots, jnp.zeros((options.shots, 221, 142)), 1.0)
    formula = "" if options.batch is None else f" ({kp.inverse.memory_formula(loss, earth)})"
    planned = kp.inverse.memory_needed(loss, earth) / 1e6
    gradient = eqx.filter_jit(eqx.filter_value_and_grad(loss))
    compiled = gradient.lower(earth).compile()  # pyright: ignore[reportFunctionMemberAccess]
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of the compiler
    jax.block_until_ready(compiled(earth))
    measured = status("VmHWM") - before
    print(f"planned {planned:.0f} MB{formula}, measured {measured:.0f} MB, ratio {measured / planned:.2f}")


if __name__ == "__main__":
    main()
