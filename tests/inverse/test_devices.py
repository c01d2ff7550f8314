"""Runs shared out among devices are the runs of one device: values, gradients and failures."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import krylovpde as kp
from tests.quick import quick_to_compile

PROGRAM = r"""
import json

import equinox as eqx
import jax
import jax.numpy as jnp

import krylovpde as kp

grid = kp.Grid((16,), (0.0,), (1.0,))
starts = jnp.stack([jnp.exp(-((grid.coordinates[0] - place) / 0.15) ** 2) for place in (0.2, 0.4, 0.7)])
experiment = kp.inverse.Experiment(starts, jnp.array([0.05, 0.1]), kp.Sensors(grid, [(0.3,), (0.6,)]))


class Rod(eqx.Module):
    log_diffusivity: jax.Array

    def equation(self):
        return kp.Diffusion(grid, jnp.exp(self.log_diffusivity))


report = {}
for devices in (1, 2):
    for batch in (None, 1):
        runs = kp.inverse.Experiments(experiment, batch, num_devices=devices)
        loss = eqx.filter_jit(eqx.filter_value_and_grad(kp.inverse.LeastSquares(runs, jnp.ones((3, 2, 2)), 0.1)))
        value, gradient = loss(Rod(0.2 * grid.coordinates[0]))
        prediction = runs(Rod(0.2 * grid.coordinates[0]))
        report[f"{devices} {batch}"] = [value.tolist(), gradient.log_diffusivity.tolist(), prediction.tolist()]
try:
    jax.block_until_ready(kp.inverse.Experiments(experiment, num_devices=2)(Rod(jnp.full(grid.shape, jnp.nan))))
except Exception as error:
    report["failure"] = str(error)
print(json.dumps(report))
"""


@pytest.fixture(scope="module")
def report():
    environment = os.environ | {
        "XLA_FLAGS": " ".join(["--xla_force_host_platform_device_count=2", *quick_to_compile()]),
        "JAX_ENABLE_X64": "1",
        "JAX_PLATFORMS": "cpu",
        "JAX_NUMPY_DTYPE_PROMOTION": "strict",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    run = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0 or run.stdout, run.stderr
    return json.loads(run.stdout)


@pytest.mark.parametrize("case", ["2 None", "2 1"])
def test_they_are_the_runs_of_one_device(report, case):
    # Three runs on two devices: one of them takes a run twice, which must not count.
    for expected, found in zip(report["1 None"], report[case], strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_a_failed_solve_is_told(report):
    assert "krylovpde" in report["failure"]


def test_more_devices_than_there_are():
    grid = kp.Grid((8,), (0.0,), (1.0,))
    experiment = kp.inverse.Experiment(jnp.zeros((2, 8)), jnp.array([0.1]), kp.Sensors(grid, [(0.3,)]))
    with pytest.raises(ValueError, match="as many as JAX has"):
        kp.inverse.Experiments(experiment, num_devices=len(jax.devices()) + 1)
