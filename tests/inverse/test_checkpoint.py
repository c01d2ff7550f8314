"""Fits that are killed and go on: the same numbers to the last bit, whole files, and files of other fits refused."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from krylovpde.inverse import LBFGS, Checkpoint, GaussNewton, MaxSeconds, fit
from tests.helpers import variants
from tests.inverse import killed

# optax and optimistix mix precisions and so fail under the strict rules that the rest of the tests run under.
pytestmark = pytest.mark.standard_promotion


class _Killed(BaseException):
    """What no `except` in the package catches."""


def _kill_at(iteration):
    def callback(record, _):
        if record.iteration == iteration:
            raise _Killed

    return callback


@pytest.mark.parametrize(
    "name",
    variants(killed.FITS, slow=["optax_lbfgs", "levenberg_marquardt", "adam"]),
)
def test_a_fit_that_is_stopped_twice_ends_with_the_same_numbers(name, tmp_path):
    whole = killed.run(name)
    length = len(whole.history)
    assert length > 6
    for iteration in (2, length - 3):
        checkpoint = Checkpoint(tmp_path / "fit.npz")
        with pytest.raises(_Killed):
            killed.run(name, checkpoint, _kill_at(iteration))
    told = []
    resumed = killed.run(name, checkpoint, lambda record, _: told.append(record.iteration))
    assert killed.numbers(resumed) == killed.numbers(whole)
    assert told == list(range(length - 2, length))  # only what is new
    assert np.all(np.diff(resumed.history.seconds) > 0)


def test_every_few_iterations_is_enough_and_a_half_written_file_does_not_matter(tmp_path):
    checkpoint = Checkpoint(tmp_path / "deep" / "fit.npz", every=4)
    with pytest.raises(_Killed):
        killed.run("lbfgs", checkpoint, _kill_at(6))
    # As a kill in the middle of writing would leave it.
    (tmp_path / "deep" / "fit.npz.partial").write_bytes((tmp_path / "deep" / "fit.npz").read_bytes()[:1000])
    told = []
    resumed = killed.run("lbfgs", checkpoint, lambda record, _: told.append(record.iteration))
    assert told[0] == 5
    assert killed.numbers(resumed) == killed.numbers(killed.run("lbfgs"))
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["fit.npz"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "fit.npz"
    with pytest.raises(_Killed):
        killed.run("adam", Checkpoint(path), _kill_at(3))
    before = path.read_bytes()

    def full(*_, **__):
        message = "no space left on device"
        raise OSError(message)

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="no space left"):
        killed.run("adam", Checkpoint(path))
    assert path.read_bytes() == before


def _quadratic(x):
    return jnp.sum((x - jnp.arange(3.0)) ** 2)


def test_a_fit_that_ended_ends_at_once_or_goes_on_with_other_rules(tmp_path):
    checkpoint, calls = Checkpoint(tmp_path / "fit.npz"), []

    def run(iterations, **options):
        return fit(
            _quadratic,
            jnp.zeros(3),
            optax.adam(0.1),
            max_iterations=iterations,
            checkpoint=checkpoint,
            callbacks=[lambda record, _: calls.append(record.iteration)],
            progress=None,
            **options,
        )

    first, second, third = run(3), run(3), run(5)
    assert calls == [0, 1, 2, 3, 4, 5]
    np.testing.assert_array_equal(first.model, second.model)
    assert len(third.history) == 6
    # Time goes on counting: rules by the clock see the time of both runs.
    assert third.history[4].seconds > third.history[3].seconds
    assert isinstance(run(9, stop=MaxSeconds(third.history[-1].seconds)).stopped_by, MaxSeconds)


def test_random_keys_and_narrow_floats_come_back(tmp_path):
    def run(iterations, checkpoint):
        return fit(
            lambda x: _quadratic(x.astype(jnp.float32)),
            jnp.zeros(3, jnp.bfloat16),
            optax.noisy_sgd(0.1, key=jax.random.key(0)),
            max_iterations=iterations,
            checkpoint=checkpoint,
            progress=None,
        )

    whole = run(4, None)
    run(2, Checkpoint(tmp_path / "fit.npz"))
    resumed = run(4, Checkpoint(tmp_path / "fit.npz"))
    assert resumed.model.dtype == jnp.bfloat16
    assert bool(jnp.all(resumed.model == whole.model))
    np.testing.assert_array_equal(resumed.history.value, whole.history.value)


def test_ctrl_c_saves_what_there_is(tmp_path):
    def interrupt(record, _):
        if record.iteration == 3:
            raise KeyboardInterrupt

    checkpoint = Checkpoint(tmp_path / "fit.npz", every=100)
    stopped = fit(_quadratic, jnp.zeros(3), optax.adam(0.1), callbacks=interrupt, checkpoint=checkpoint, progress=None)
    assert "interrupted" in stopped.reason
    again = fit(_quadratic, jnp.zeros(3), optax.adam(0.1), max_iterations=5, checkpoint=checkpoint, progress=None)
    assert len(again.history) == 6
    np.testing.assert_array_equal(again.history.seconds[:4], stopped.history.seconds)


def test_files_of_other_fits_are_refused(tmp_path):
    path = tmp_path / "fit.npz"

    def run(loss=_quadratic, dtype=jnp.float64, optimiser=None):
        optimiser = LBFGS(memory=3) if optimiser is None else optimiser
        fit(loss, jnp.zeros(3, dtype), optimiser, max_iterations=1, checkpoint=Checkpoint(path), progress=None)

    run()
    with pytest.raises(ValueError, match=r"another fit: optimiser: LBFGS in the file, optax in this fit"):
        run(optimiser=optax.adam(0.1))
    with pytest.raises(ValueError, match=r"optimiser: .*'memory': 3.* in the file, .*'memory': 4.* in this fit"):
        run(optimiser=LBFGS(memory=4))
    with pytest.raises(ValueError, match=r"another fit: unknowns: .*float64.* in the file, .*float32.* in this fit"):
        run(dtype=jnp.float32)
    with pytest.raises(ValueError, match=r"another fit: loss at the start: 5 in the file, 10 in this fit"):
        run(loss=lambda x: 2 * _quadratic(x))


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "fit.npz"

    def run():
        fit(_quadratic, jnp.zeros(3), LBFGS(), max_iterations=1, checkpoint=Checkpoint(path), progress=None)

    run()
    whole = path.read_bytes()
    middle = len(whole) // 2
    flipped = bytes(255 - byte for byte in whole[middle : middle + 50])
    damages = [b"", b"no archive", whole[:middle], whole[:middle] + flipped + whole[middle + 50 :]]
    for damaged in damages:
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"fit.npz cannot be read as a checkpoint of a fit .* Remove it"):
            run()
    np.savez(path, something=np.ones(3))
    with pytest.raises(ValueError, match="cannot be read as a checkpoint"):
        run()


@pytest.mark.bad_input
def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="every must be at least 1"):
        Checkpoint("fit.npz", every=0)


def _start_process(folder, seconds, names):
    command = [sys.executable, str(Path(killed.__file__)), str(folder), str(seconds), *names]
    # The package's type checks are the other tests' affair; the programs compiled by one process serve the next.
    cache = {"JAX_COMPILATION_CACHE_DIR": str(folder / "cache"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    root = str(Path(__file__).parents[2])
    environment = os.environ | cache | {"PYTHONPATH": root, "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def _same_after_kills(folder, name, kills, seconds):
    """Kill a fit at random moments so many times, let it end, and compare it with one that was left alone."""
    chance = random.Random(f"{name} {kills}")
    told = 0
    for _ in range(kills):
        process = _start_process(folder, seconds, [name])
        # In the midst of an iteration: of its computation, its pause, or its file; but not of its compilation only.
        line = process.stdout.readline()
        line = process.stdout.readline() if line == "iteration 0\n" else line
        told += line.startswith("iteration")
        time.sleep(chance.random() * seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    process = _start_process(folder, 0.0, [name])
    output, _ = process.communicate()
    assert process.returncode == 0
    # It was killed in the middle each time, and went on from where it was.
    assert told == kills
    assert output.count("iteration") < len(killed.run(name).history)
    assert (folder / f"{name}.txt").read_text() == killed.numbers(killed.run(name))


@pytest.mark.slow
def test_killed_twice_it_ends_with_the_same_numbers(tmp_path):
    _same_after_kills(tmp_path, "lbfgs", kills=2, seconds=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("name", killed.FITS)
def test_killed_ten_times_it_ends_with_the_same_numbers(name, tmp_path):
    _same_after_kills(tmp_path, name, kills=10, seconds=0.1)


def test_the_settings_of_an_optimiser_are_part_of_the_fingerprint(tmp_path):
    checkpoint = Checkpoint(tmp_path / "fit.npz")
    with pytest.raises(_Killed):
        killed.run("gauss_newton", checkpoint, _kill_at(1))
    with pytest.raises(ValueError, match=r"'damping': 10000000.0.* in the file, .*'damping': 1.0"):
        fit(killed.loss(), killed.start(1.8), GaussNewton(damping=1.0), checkpoint=checkpoint, progress=None)
