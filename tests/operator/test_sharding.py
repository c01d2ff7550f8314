"""Eight (fake) devices: operators and their derivatives become halo exchanges, and nothing is gathered."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = r"""
import json, re
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from krylovpde.equation import AdvectionDiffusion, Diffusion, Wave
from krylovpde.grid import Dirichlet, Grid, Neumann, Periodic
from krylovpde.operator import Upwind

mesh = jax.make_mesh((8,), ("x",), axis_types=(AxisType.Auto,))
grid = Grid((32, 16), (0.0, 0.0), (1.0, 1.0))
u = np.random.default_rng(0).normal(size=grid.shape)
coefficient = 0.5 + np.random.default_rng(1).random(grid.shape)

EQUATIONS = {
    "diffusion": lambda c: Diffusion(grid, c, boundary=(Dirichlet(1.0), Neumann()), capacity=c),
    "diffusion periodic": lambda c: Diffusion(grid, c, boundary=Periodic()),
    "advection": lambda c: AdvectionDiffusion(grid, c, (c, c), scheme=Upwind(3)),
    "wave": lambda c: Wave(grid, c),
}

def apply(make):
    return lambda c, u: make(c).operator().mv(u)

def pullback(make):
    return lambda c, u: jax.vjp(apply(make), c, u)[1](u)

def transpose(make):
    return lambda c, u: make(c).operator().T.mv(u)

report = {}
for name, make in EQUATIONS.items():
    for function in (apply, pullback, transpose):
        for spec in (PartitionSpec("x", None), PartitionSpec(None, "x")):
            sharding = NamedSharding(mesh, spec)
            arguments = [jax.device_put(jnp.asarray(a), sharding) for a in (coefficient, u)]
            compiled = jax.jit(function(make)).lower(*arguments).compile()
            text = compiled.as_text()
            found = re.findall(r"\b(all-gather|all-to-all|all-reduce|collective-permute)(?:-start)?\(", text)
            result = jax.tree.leaves(compiled(*arguments))
            expected = jax.tree.leaves(jax.jit(function(make))(jnp.asarray(coefficient), jnp.asarray(u)))
            error = max(float(np.abs(np.asarray(a) - np.asarray(b)).max()) for a, b in zip(result, expected))
            scale = max(float(np.abs(np.asarray(b)).max()) for b in expected)
            sharded = all(not leaf.sharding.is_fully_replicated for leaf in result)
            report[f"{name} {function.__name__} {spec}"] = [dict(Counter(found)), error / scale, sharded]
print(json.dumps(report))
"""


@pytest.fixture(scope="module")
def report():
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "JAX_ENABLE_X64": "1",
        "JAX_PLATFORMS": "cpu",
        "JAX_NUMPY_DTYPE_PROMOTION": "strict",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_all_cases_ran(report):
    assert len(report) == 24


def test_only_neighbours_talk(report):
    for case, (collectives, _, _) in report.items():
        assert collectives.get("collective-permute", 0) > 0, case
        assert "all-gather" not in collectives, (case, collectives)
        assert "all-to-all" not in collectives, (case, collectives)
        # The wrap of a periodic axis that is sharded: one face, summed.
        assert "all-reduce" not in collectives or "periodic" in case or "pullback" in case, (case, collectives)


def test_results_are_sharded_and_the_same(report):
    for case, (_, error, sharded) in report.items():
        assert error < 1e-13, case
        assert sharded, case
