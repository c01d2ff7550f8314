"""The paper's experiment at a small size: what it is made of, and each of its commands."""

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
from examples.against_diffrax.paper import data, methods, train
from examples.against_diffrax.paper.stencils import Case
from tests.helpers import random_like, relative_error

_ROOT = Path(__file__).parent.parent


def _run(*words) -> subprocess.CompletedProcess:
    """As from the shell, with warnings as errors."""
    command = [sys.executable, "-W", "error", "-m", "examples.against_diffrax.paper", *map(str, words)]
    cache = {"JAX_COMPILATION_CACHE_DIR": str(_ROOT / ".pytest_cache" / "jax")}
    environment = {**os.environ, "MPLBACKEND": "Agg", "PYTHONPATH": str(_ROOT), **cache}
    run = subprocess.run(command, capture_output=True, text=True, cwd=_ROOT, env=environment, check=False)
    assert run.returncode == 0, run.stderr
    return run


@pytest.mark.parametrize("stencil", ["paper", "correct"])
def test_the_stencil_is_theirs(stencil, key):
    """The published kernel on a field padded by its edge values; with -4 in its centre, a wave equation."""
    case = Case(9, stencil, 1.0)
    kernel = np.asarray([[0.0, 1.0, 0.0], [1.0, -2.0 if stencil == "paper" else -4.0, 1.0], [0.0, 1.0, 0.0]])
    keys = jax.random.split(key, 3)
    squared, u, v = (jax.random.normal(k, (9, 9)) for k in keys)
    padded = np.pad(np.asarray(u), 1, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3))
    expected = np.asarray(squared) * np.einsum("ijkl,kl->ij", windows, kernel) * 8.0**2
    state = kp.WaveState(u, v)
    for rate in (case.equation(squared).vector_field(0.0, state), case.first_order(squared).mv(state)):
        assert relative_error(rate, kp.WaveState(v, jnp.asarray(expected))) < 1e-13
    np.testing.assert_allclose(case.grid.centres[0], np.linspace(0.0, 1.0, 9), atol=1e-15)


def test_fields_have_the_covariance():
    """Variance at the nodes, and correlation over half the square, of 400 samples."""
    samples = data.fields(jax.random.key(1), 400, 8, 0.5, 2.0)
    assert samples.dtype == np.float32
    assert np.mean(samples**2) == pytest.approx(2.0, rel=0.1)
    nodes = np.linspace(0.0, 1.0, 8)
    expected = 2.0 * np.exp(-((nodes[4] - nodes[0]) ** 2) / (2 * 0.5**2))
    assert np.mean(samples[:, 0, :] * samples[:, 4, :]) == pytest.approx(expected, rel=0.15)


def _all_methods(case: Case) -> list[methods.Method]:
    rows = [methods.discrete_adjoint(case, 14), methods.two_sided_fixed(case, 14)]
    rows += [methods.runge_kutta(case, "Dopri5", "backsolve", 12), methods.runge_kutta(case, "Tsit5", "checkpoints", 9)]
    rows += [methods.default(case, 1e-6), methods.krylov(case, 1e-6, 16, 4)]
    return rows + ([methods.matfree_adjoint(case, 14)] if methods.has_matfree() else [])


@pytest.mark.slow
@pytest.mark.standard_promotion
def test_all_methods_solve_the_same_problem(key):
    """Solution and gradient in double precision, at a speed at which the waves cross the square."""
    case = Case(8, "paper", 1.0)
    keys = jax.random.split(key, 2)
    p = 0.1 + 0.05 * data.fields(keys[0], 1, 8, 0.4, 1.0)[0].astype(np.float64)
    like = kp.WaveState(jnp.zeros((8, 8)), jnp.zeros((8, 8)))
    state, weights = random_like(keys[1], like), random_like(keys[0], like)

    def both(solve):
        def functional(p):
            return sum(jnp.vdot(w, x) for w, x in zip(*map(data.parts, (weights, solve(p**2, state))), strict=True))

        return jax.jit(jax.value_and_grad(functional))(jnp.asarray(p))

    exact = both(methods.runge_kutta(case, "Dopri8", "checkpoints", 40).solve)
    for method in _all_methods(case):
        assert relative_error(both(method.solve), exact) < 1e-4, method.name
        work = method.work(jnp.asarray(p) ** 2, state)
        assert work.forward > 0
        assert work.backward >= work.forward


@pytest.mark.standard_promotion
@pytest.mark.parametrize(
    ("solver", "adjoint"), [pytest.param("Dopri5", "backsolve", marks=pytest.mark.slow), ("Tsit5", "checkpoints")]
)
def test_work_of_runge_kutta_is_what_runs(solver, adjoint, monkeypatch):
    """The vector field tells each time that it, or its vjp, is evaluated."""
    calls = {"forward": 0, "back": 0}

    def tell(name):
        jax.debug.callback(lambda: calls.__setitem__(name, calls[name] + 1))

    @jax.custom_vjp
    def product(squared, u):
        tell("forward")
        return case.equation(squared).operator().mv(u)

    def product_back(saved, cotangent):
        tell("back")
        return jax.vjp(lambda s, u: case.equation(s).operator().mv(u), *saved)[1](cotangent)

    product.defvjp(lambda squared, u: (product(squared, u), (squared, u)), product_back)

    def field(_case, _t, u, squared):
        return kp.WaveState(u.velocity, product(squared, u.displacement))

    monkeypatch.setattr(methods, "vector_field", field)
    case, squared = Case(5, "paper", 1.0), jnp.full((5, 5), 1e-2)
    state = kp.WaveState(jnp.ones((5, 5)), jnp.ones((5, 5)))
    method = methods.runge_kutta(case, solver, adjoint, 3)
    jax.block_until_ready(method.solve(squared, state))
    jax.effects_barrier()
    work, forward = method.work(squared, state), calls["forward"]
    assert forward == work.forward
    calls.update(forward=0, back=0)
    jax.block_until_ready(jax.grad(lambda s: jnp.sum(method.solve(s, state).displacement))(squared))
    jax.effects_barrier()
    again = calls["forward"] - forward
    assert again == work.recomputed if adjoint == "backsolve" else again >= work.recomputed
    assert calls["back"] == work.transposed


def test_the_loss_is_relative():
    target = kp.WaveState(jnp.asarray([[[2.0]]]), jnp.asarray([[[-4.0]]]))
    pair = data.Data(jnp.ones((1, 1)), kp.WaveState(jnp.asarray([[[3.0]]]), jnp.asarray([[[-4.0]]])), target)
    loss = train.field_loss(lambda _squared, state: state, 1.0, jnp.ones((1, 1)), pair)
    assert float(loss) == pytest.approx(0.5 * (1.0 / 3.0) ** 2)


@pytest.mark.slow
def test_work_precision(tmp_path):
    output = tmp_path / "work.json"
    options = ["--size", 8, "--seeds", 1, 2, "--depths", 10, "--steps", 3, "--tolerances", 1e-3]
    run = _run("work", *options, "--output", output)
    report = json.loads(output.read_text())
    assert not [row for row in report["rows"] if "failure" in row]
    names = {row["method"] for row in report["rows"]}
    assert {"Arnoldi, discrete adjoint", "Dopri5, backsolve", "krylovpde, second order"} < names
    assert all(row["gradient_error"] < 1e-3 for row in report["rows"])
    assert len(report["fixed"]["ratios"]) == 2
    assert "| median |" in run.stdout
    assert output.with_suffix(".png").stat().st_size > 10_000


def _train(output: Path, *options) -> tuple[dict, str]:
    _run("train", "--size", 8, "--epochs", 2, *options, "--output", output)
    report = json.loads(output.read_text())
    starts = {row["seed"]: row["losses"][0] for row in report["rows"]}
    for row in report["rows"]:
        assert row["losses"][0] == pytest.approx(starts[row["seed"]], rel=1e-3)  # the same start for all
        assert row["losses"][-1] < row["losses"][0]
        assert len(row["seconds"]) == 2
        assert row["solve_s"] > 0
    return report, _run("table", "--input", output).stdout


@pytest.mark.slow
def test_training_a_field_and_its_table(tmp_path):
    options = ["--seeds", 1, 2, "--parametrisation", "field", "--methods", "second order", "--stencil", "correct"]
    report, table = _train(tmp_path / "train.json", *options)
    assert len(report["rows"]) == 2
    assert "± " in table


@pytest.mark.slow
def test_training_a_network_by_all_methods(tmp_path):
    report, table = _train(tmp_path / "train.json", "--seeds", 1)
    assert len(report["rows"]) == 4
    assert "0.269" in table


@pytest.mark.slow
@pytest.mark.parametrize("stencil", ["paper", "correct"])
def test_the_solve_alone(stencil, tmp_path):
    output = tmp_path / "alone.json"
    run = _run("alone", "--size", 10, "--repeats", 2, "--stencil", stencil, "--output", output)
    report = json.loads(output.read_text())
    assert not [row for row in report["rows"] if "failure" in row]
    assert all(row["gradient_error"] < 1e-4 for row in report["rows"])
    assert "krylovpde, second order / Dopri5, backsolve" in run.stdout
