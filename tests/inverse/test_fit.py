"""`fit` on problems without a PDE: every optimiser, every way to stop, every way to fail."""

import io
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import optimistix as optx
import pytest

from krylovpde.inverse import (
    Bar,
    Bounded,
    Discrepancy,
    FitResult,
    GradientNorm,
    InversionWarning,
    LeastSquares,
    Lines,
    MaxIterations,
    Positive,
    Stagnation,
    fit,
)
from tests.helpers import variants

# optax and optimistix mix precisions and so fail under the strict rules that the rest of the tests run under.
pytestmark = pytest.mark.standard_promotion


class Decay(eqx.Module):
    rate: Positive
    amplitude: Bounded
    label: str = "tracer"  # not an array: no optimiser may touch it

    def __call__(self):
        return self.amplitude.value * jnp.exp(-self.rate.value * jnp.linspace(0.0, 1.0, 20))


def _decay(rate, amplitude):
    return Decay(Positive.from_value(rate), Bounded.from_value(amplitude, 0.0, 5.0))


_TRUTH, _START = (3.0, 2.0), (1.0, 1.0)


def _loss(noise=0.0, sigma=0.01, key=None):
    data = _decay(*_TRUTH)()
    if noise:
        data = data + noise * jr.normal(key, data.shape)
    return LeastSquares(lambda model: model(), data, sigma)


_OPTIMISERS = {
    "optax.lbfgs": lambda: optax.lbfgs(),
    "optax.adam": lambda: optax.adam(0.2),
    "optax.backtracking": lambda: optax.chain(optax.sgd(1e-4), optax.scale_by_backtracking_linesearch(20)),
    "optax.backtracking, gradient kept": lambda: optax.chain(
        optax.sgd(1e-4), optax.scale_by_backtracking_linesearch(20, store_grad=True)
    ),
    "optax.polyak_sgd": lambda: optax.polyak_sgd(),
    "optimistix.BFGS": lambda: optx.BFGS(1e-9, 1e-9),
    "optimistix.LBFGS": lambda: optx.LBFGS(1e-9, 1e-9),
    "optimistix.NelderMead": lambda: optx.NelderMead(1e-7, 1e-7),
    "optimistix.LevenbergMarquardt": lambda: optx.LevenbergMarquardt(1e-9, 1e-9),
    "optimistix.GaussNewton": lambda: optx.GaussNewton(1e-9, 1e-9),
    "optimistix.Dogleg": lambda: optx.Dogleg(1e-9, 1e-9),
}


# Of each kind one: these are like another, or follow below.
_ALIKE = ["optax.lbfgs", "optax.backtracking, gradient kept", "optimistix.LBFGS", "optimistix.GaussNewton"]
_ALIKE += ["optimistix.Dogleg"]


@pytest.mark.parametrize("name", variants(_OPTIMISERS, slow=_ALIKE))
def test_every_kind_of_optimiser_finds_the_truth(name):
    result = fit(
        _loss(), _decay(*_START), _OPTIMISERS[name](), stop=GradientNorm(1e-6), max_iterations=300, progress=None
    )
    assert not result.failed, result.reason
    assert result.model.rate.value == pytest.approx(_TRUTH[0], rel=1e-3)
    assert result.model.amplitude.value == pytest.approx(_TRUTH[1], rel=1e-3)
    assert result.model.label == "tracer"
    assert result.history[0].iteration == 0
    # Nelder–Mead begins with a simplex and reports its best corner.
    tolerance = 1e-3 if "NelderMead" in name else 1e-10
    assert result.history[0].value == pytest.approx(float(_loss()(_decay(*_START))), rel=tolerance)
    assert np.all(np.diff([record.evaluations for record in result.history.records]) >= 1)
    assert np.all(np.diff(result.history.seconds) > 0)


@pytest.mark.parametrize("name", ["optax.lbfgs", "optimistix.LBFGS", "optimistix.LevenbergMarquardt"])
def test_records_hold_the_loss_and_gradient_at_the_model(name):
    result = fit(_loss(), _decay(*_START), _OPTIMISERS[name](), max_iterations=4, progress=None)
    value, gradient = jax.value_and_grad(_loss())(eqx.filter(result.model, eqx.is_inexact_array))
    norm = np.sqrt(sum(float(leaf) ** 2 for leaf in jax.tree_util.tree_leaves(gradient)))
    last = min(result.history.records, key=lambda record: record.value)
    assert last.value == pytest.approx(float(value), rel=1e-9)
    assert last.gradient_norm == pytest.approx(norm, rel=1e-6)
    assert last.misfit == pytest.approx(2 * float(value) / 20, rel=1e-9)


_TRACED = ["optax.lbfgs", "optax.adam", "optimistix.LevenbergMarquardt"]


@pytest.mark.parametrize("name", variants(_TRACED, slow=["optax.adam"]))
def test_the_first_iteration_is_the_only_one_that_is_traced(name):
    def count(iterations):
        traces = []

        def predict(model):
            traces.append(None)
            return model()

        loss = LeastSquares(predict, _decay(*_TRUTH)(), 0.01)
        fit(loss, _decay(*_START), _OPTIMISERS[name](), max_iterations=iterations, progress=None)
        return len(traces)

    assert count(1) == count(6)


def test_a_bug_in_the_loss_is_not_taken_for_a_failed_solve():
    def callback(x):
        if x > 0.5:
            message = "a bug"
            raise RuntimeError(message)
        return x

    @jax.custom_jvp
    def loss(x):
        return jax.pure_callback(callback, jax.ShapeDtypeStruct((), x.dtype), x)

    loss.defjvp(lambda primals, tangents: (loss(primals[0]), -tangents[0]))
    # Which of the two it is depends on JAX's version.
    with pytest.raises((RuntimeError, ValueError), match="a bug"):
        fit(loss, jnp.asarray(0.0), optax.sgd(0.4), progress=None)


def test_single_precision_stays_single():
    model = Positive(jnp.asarray(0.0, jnp.float32))
    loss = LeastSquares(lambda m: m.value * jnp.ones(3, jnp.float32), np.full(3, 2.0, np.float32), 0.1)
    for optimiser in (optax.lbfgs(), optax.adam(0.1)):
        result = fit(loss, model, optimiser, max_iterations=3, progress=None)
        assert result.model.raw.dtype == jnp.float32


def test_discrepancy_stops_at_the_noise_and_before_the_optimum(key):
    loss = _loss(noise=0.05, sigma=0.05, key=key)
    result = fit(loss, _decay(*_START), optax.lbfgs(), stop=Discrepancy(1.2), progress=None)
    assert isinstance(result.stopped_by, Discrepancy)
    assert result.history[-1].misfit <= 1.2
    assert np.all(result.history.misfit[:-1] > 1.2)
    assert "reached the target" in result.reason


def test_the_start_may_already_be_good_enough():
    result = fit(_loss(), _decay(*_TRUTH), optax.lbfgs(), stop=[Discrepancy()], progress=None)
    assert len(result.history) == 1
    assert isinstance(result.stopped_by, Discrepancy)


def test_other_endings(key):
    loss = _loss(noise=0.05, sigma=0.05, key=key)
    stagnated = fit(loss, _decay(*_START), optax.lbfgs(), stop=Stagnation(1e-3, window=3), progress=None)
    assert isinstance(stagnated.stopped_by, Stagnation)
    counted = fit(loss, _decay(*_START), optax.adam(1e-3), max_iterations=3, progress=None, certified=False)
    assert isinstance(counted.stopped_by, MaxIterations)
    assert len(counted.history) == 4
    own = fit(loss, _decay(*_START), optx.LevenbergMarquardt(1e-3, 1e-3), progress=None)
    assert own.stopped_by is None
    assert not own.failed
    assert "own tolerances" in own.reason


def test_only_trainable_leaves_move():
    start = _decay(*_START)
    free = eqx.tree_at(lambda m: m.amplitude.raw, jax.tree_util.tree_map(eqx.is_inexact_array, start), False)
    result = fit(_loss(), start, optax.lbfgs(), trainable=free, max_iterations=5, progress=None)
    assert result.model.amplitude.value == start.amplitude.value
    assert result.model.rate.value != start.rate.value


def _cliff(threshold, beyond):
    """½ (x - 3)², which is `beyond` for x > threshold: a solve that fails where a step goes too far."""

    def loss(x):
        return jnp.where(x > threshold, beyond, 0.5 * (x - 3.0) ** 2)

    return loss


@pytest.mark.parametrize("beyond", [jnp.nan, jnp.inf])
@pytest.mark.parametrize("name", ["sgd", "lbfgs", "optimistix.BFGS"])
def test_a_step_into_a_non_finite_loss_is_shortened(name, beyond):
    # The first full step of length 3.4 (sgd) jumps from 0 to beyond 3.1; half of it does not.
    optimiser = {
        "sgd": optax.sgd(1.2),
        "lbfgs": optax.chain(optax.lbfgs(scale_init_precond=False, learning_rate=1.3)),
        "optimistix.BFGS": optx.BFGS(1e-8, 1e-8),
    }[name]
    result = fit(
        _cliff(3.1, beyond), jnp.asarray(0.0), optimiser, stop=GradientNorm(1e-3), max_iterations=60, progress=None
    )
    assert not result.failed, result.reason
    assert result.model == pytest.approx(3.0, abs=0.1)
    assert np.all(np.isfinite(result.history.value))


def test_a_loss_that_stays_non_finite_ends_the_fit_with_the_best_model():
    def loss(x):
        return jnp.where(x == 1.0, x**2, jnp.nan)

    result = fit(loss, jnp.asarray(1.0), optax.sgd(0.1), progress=None)
    assert result.failed
    assert result.model == 1.0
    assert "finite" in result.reason
    assert result.history[-1].accepted is False
    assert result.history[-1].evaluations == 12  # the start, the full step, ten halvings


def test_a_finite_loss_with_a_bad_gradient_is_not_accepted():
    @jax.custom_jvp
    def loss(x):
        return x**2

    @loss.defjvp
    def _(primals, tangents):
        (x,), (dx,) = primals, tangents
        return x**2, jnp.where(x == 1.0, 2 * x, jnp.nan) * dx

    result = fit(loss, jnp.asarray(1.0), optax.sgd(0.1), progress=None)
    assert result.failed
    assert result.model == 1.0


def test_a_solve_that_raises_ends_the_fit_with_the_best_model():
    def loss(x):
        return eqx.error_if(0.5 * (x - 3.0) ** 2, x > 1.0, "tolerance not reached")

    result = fit(loss, jnp.asarray(0.0), optax.sgd(0.1), progress=None)
    assert result.failed
    assert "tolerance not reached" in result.reason
    assert 0.8 < result.model <= 1.0
    assert result.stopped_by is None


def test_the_best_model_is_kept_when_the_loss_goes_up_again():
    result = fit(lambda x: 0.5 * (x - 3.0) ** 2, jnp.asarray(0.0), optax.sgd(2.2), max_iterations=6, progress=None)
    assert result.history[-1].value > result.history[0].value  # it diverges
    assert result.model == 0.0


def test_ctrl_c_returns_what_there_is():
    def interrupt(model):
        calls.append(model)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return 0.0

    calls = []
    result = fit(
        lambda x: 0.5 * (x - 3.0) ** 2, jnp.asarray(0.0), optax.sgd(0.5), diagnostics={"x": interrupt}, progress=None
    )
    assert "interrupted" in result.reason
    assert len(result.history) == 2
    assert result.model == pytest.approx(1.5)


def test_a_line_for_each_iteration():
    out = io.StringIO()
    result = fit(
        _loss(),
        _decay(*_START),
        optax.lbfgs(),
        max_iterations=3,
        progress=Lines(out),
        diagnostics={"rate error": lambda model: abs(model.rate.value - 3.0)},
    )
    lines = out.getvalue().splitlines()
    assert len(lines) == len(result.history) + 1
    assert all("χ²/N" in line and "rate error" in line and "evaluations" in line for line in lines[:-1])
    assert lines[-1] == f"stopped: {result.reason}"
    assert result.history.diagnostic("rate error")[0] == pytest.approx(2.0)


def test_callbacks_see_every_iteration_and_model():
    seen, counted = [], []
    callbacks = [lambda record, model: seen.append((record, model)), lambda record, _: counted.append(record.iteration)]
    result = fit(_loss(), _decay(*_START), optax.adam(0.1), max_iterations=3, callbacks=callbacks, progress=None)
    assert counted == [0, 1, 2, 3]
    assert [record for record, _ in seen] == list(result.history.records)
    assert seen[0][1].rate.value == pytest.approx(_START[0])
    for record, model in seen:
        assert record.value == pytest.approx(float(_loss()(model)), rel=1e-9)

    def bug(record, _):
        if record.iteration == 2:
            message = "a bug"
            raise RuntimeError(message)

    with pytest.raises(RuntimeError, match="a bug"):
        fit(_loss(), _decay(*_START), optax.adam(0.1), max_iterations=3, callbacks=bug, progress=None)


def test_the_history_is_a_table():
    result = fit(
        _loss(),
        _decay(*_START),
        optax.adam(0.1),
        max_iterations=3,
        diagnostics={"rate": lambda m: m.rate.value},
        progress=None,
    )
    lines = result.history.table().splitlines()
    assert lines[0].split() == ["iteration", "loss", "χ²/N", "|gradient|", "evaluations", "seconds", "rate"]
    assert len(lines) == 5
    assert len({line.index(line.split()[1]) + len(line.split()[1]) for line in lines}) == 1  # aligned at the right
    assert lines[-1].split()[0] == "3"


def test_lines_go_to_standard_output_unless_told_otherwise(capsys):
    fit(_loss(), _decay(*_START), optax.lbfgs(), max_iterations=1)
    assert capsys.readouterr().out.count("\n") == 3


def test_bar_runs(capsys):
    result = fit(_loss(), _decay(*_START), optax.lbfgs(), max_iterations=2, progress=Bar(2))
    assert isinstance(result, FitResult)
    assert "loss" in capsys.readouterr().err


@pytest.mark.bad_input
@pytest.mark.parametrize(("module", "call"), [("optax", "optimiser"), ("tqdm", "bar")])
def test_a_missing_library_is_named_with_its_extra(monkeypatch, module, call):
    optimiser, progress = optax.sgd(0.1), Bar() if call == "bar" else None
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"needs {module}: pip install krylovpde\[fit\]"):
        fit(lambda x: x**2, jnp.asarray(1.0), optimiser, progress=progress)


@pytest.mark.bad_input
def test_bad_arguments_are_refused():
    with pytest.raises(TypeError, match=r"optimiser is .*; give .* an optax GradientTransformation"):
        fit(lambda x: x**2, jnp.asarray(1.0), "adam")
    with pytest.raises(TypeError, match="an object, not its class"):
        fit(lambda x: x**2, jnp.asarray(1.0), optx.LevenbergMarquardt)
    with pytest.raises(TypeError, match="LevenbergMarquardt is a least-squares solver and needs a loss with a res"):
        fit(lambda x: x**2, jnp.asarray(1.0), optx.LevenbergMarquardt(1e-3, 1e-3))
    with pytest.raises(ValueError, match="no trainable leaves"):
        fit(lambda x: x**2, 1.0, optax.sgd(0.1))
    with pytest.raises(ValueError, match=r"must be a real scalar array, but is an array of shape \(2,\)"):
        fit(lambda x: x**2, jnp.ones(2), optax.sgd(0.1))
    with pytest.raises(ValueError, match="at the starting model the loss is nan"):
        fit(jnp.log, jnp.asarray(-1.0), optax.sgd(0.1))


def test_a_fit_warns_of_a_rate_that_moves_nothing_unless_told_not_to():
    model = {"speed": jnp.asarray(1500.0)}

    def run(**options):
        return fit(lambda m: (m["speed"] - 1600.0) ** 2, model, optax.adam(1e-4), max_iterations=2, **options)

    with pytest.warns(InversionWarning, match="rate"):
        run(progress=None)
    run(progress=None, certified=False)
