"""`python -m examples.iteration_adjoints` as a user runs it, at a small size."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import scipy.io

import krylovpde as kp
from examples.iteration_adjoints.matrices import SHAPES, generated, is_symmetric
from examples.iteration_adjoints.products import Contestant, difference, passes
from tests.helpers import relative_error, rounding

_ROOT = Path(__file__).parent.parent


def _run(folder: Path, experiment: str, *arguments) -> dict:
    """The JSON; with warnings as errors, and compiled programs kept where those of the tests are."""
    report, figure = folder / "report.json", folder / "figure.png"
    command = [sys.executable, "-W", "error", "-m", "examples.iteration_adjoints", experiment, *map(str, arguments)]
    command += ["--output", str(report), "--figure", str(figure)]
    cache = {"JAX_COMPILATION_CACHE_DIR": str(_ROOT / ".pytest_cache" / "jax")}
    environment = {**os.environ, "MPLBACKEND": "Agg", "PYTHONPATH": str(_ROOT), **cache}
    run = subprocess.run(command, capture_output=True, text=True, cwd=_ROOT, env=environment, check=False)
    assert run.returncode == 0, run.stderr
    assert figure.stat().st_size > 10_000
    return json.loads(report.read_text())


@pytest.mark.slow
def test_hilbert(tmp_path):
    """With re-projection to rounding, where without it and by backpropagation digits are lost."""
    found = _run(tmp_path, "hilbert", "--size", 3)
    ours = found["errors"]["adjoint, with"]
    assert found["vectors_kept"] == [1, 2, 3]
    assert max(ours) < 1e-15
    assert found["errors"]["adjoint, without"][2] > 1e2 * ours[2]
    assert found["errors"]["backpropagation, with"][2] > 2 * ours[2]
    # The peer's is as good.
    assert found["errors"]["matfree's adjoint, with"][2] < 1e-15


@pytest.mark.slow
def test_depth_on_a_matrix_market_file(tmp_path):
    """Both ways agree, and the adjoint's memory grows slower than the square of the depth, which the other's does."""
    path = tmp_path / "small.mtx"
    scipy.io.mmwrite(path, generated("like 1138_bus").tocoo(), symmetry="symmetric")
    found = _run(tmp_path, "depth", "--matrix", path, "--depths", 4, 16, "--repeats", 1)["matrices"]["small.mtx"]
    assert (found["n"], found["entries"]) == SHAPES["like 1138_bus"][:2]
    rows = {(row["name"], row["depth"]): row for row in found["rows"]}
    names = {name for name, _ in rows}
    assert len(names) == 6
    for (name, depth), row in rows.items():
        assert row["backward_s"] > 0.0
        assert row["backpropagation"] or row["difference"] < 1e-9, (name, depth)
    basis_bytes = 8 * 1138
    for name in names:
        growth = rows[name, 16]["memory_bytes"] - rows[name, 4]["memory_bytes"]
        if "adjoint" in name:
            assert growth < 2 * 12 * basis_bytes
        if name.startswith("Arnoldi") and "backpropagation" in name:
            assert growth > (16**2 - 4**2) * basis_bytes
    assert set(found["fits"]) == names


@pytest.mark.parametrize("iteration", ["Arnoldi", "Lanczos"])
def test_both_ways_differentiate_the_same_iteration(iteration, key):
    """The loops for backpropagation return what `kp.arnoldi` and `kp.lanczos` return, and the gradients agree."""
    matrix = generated("like 1138_bus")[:40, :40].tocsr()
    operator = kp.SparseOperator.from_scipy(matrix, tags=kp.self_adjoint_tag)
    vector = jax.random.normal(key, (40,))
    found = []
    for backpropagation in (False, True):
        who = Contestant(iteration, iteration == "Arnoldi", backpropagation)
        compiled = passes(who, 6, operator, vector)
        values, pull = compiled.forward()
        found.append((values, np.asarray(compiled.backward(pull, compiled.cotangent))))
        assert compiled.memory > 0
    (values, gradient), (reference, by_backpropagation) = found
    assert relative_error(values, reference) < rounding(np.float64, 100)
    assert 0.0 < difference(matrix, who, gradient, by_backpropagation) < rounding(np.float64, 1e3)


@pytest.mark.parametrize("name", list(SHAPES))
def test_generated_matrices(name):
    """Symmetric, of the size and fill that they say, positive on the diagonal, and the same every time."""
    matrix = generated(name)
    assert (matrix.shape[0], matrix.nnz) == SHAPES[name][:2]
    assert is_symmetric(matrix)
    assert np.all(matrix.diagonal() > 0.0)
    assert (abs(matrix - generated(name))).nnz == 0


@pytest.mark.slow
def test_smooth_data(tmp_path):
    """The figure of the documentation: the two-sided gradient follows the value, the discrete adjoint does not."""
    found = _run(tmp_path, "smooth")
    for name, dimension in (("heat", 25), ("wave", 70)):
        at = found[name]["dimensions"].index(dimension)
        value, discrete, two_sided = (
            found[name]["errors"][curve][at] for curve in ("value", "discrete adjoint", "two-sided adjoint")
        )
        assert value < 1e-3
        assert two_sided < 10 * value
        assert discrete > 1000
    for row in found["wave"]["default"]:
        assert max(row["value"], row["gradient"]) < max(row["rtol"], 1e-11)
