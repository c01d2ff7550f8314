"""Figures of inversions: fields beside the truth, data beside predictions, residuals, weights, waves."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from krylovpde import plot
from krylovpde.grid import Grid
from krylovpde.inverse import FitResult, History, Record, WeightPath, WeightPoint, WeightResult

_GRID = Grid(shape=(6, 4), lower=(0.0, 0.0), upper=(3.0, 1.0))
_TRUTH = np.linspace(1.0, 2.0, 24).reshape(6, 4)
_TIMES = np.linspace(0.0, 1.0, 5)
_DATA = np.outer(_TIMES, [1.0, 2.0, 3.0])


def _labels(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_a_triptych_shares_the_truths_scale_and_tells_the_errors():
    figure, axes = plot.figure(1, 4)
    errors = plot.triptych(axes, _GRID, _TRUTH, 1.5 + 0 * _TRUTH, 1.1 * _TRUTH, label="speed", unit="m/s")
    assert {place.collections[0].get_clim() for place in axes[:3]} == {(1.0, 2.0)}
    expected = np.linalg.norm(1.5 - _TRUTH) / np.linalg.norm(_TRUTH), 0.1
    np.testing.assert_allclose(errors, expected, rtol=1e-12)
    titles = ["truth", f"start, {100 * expected[0]:.3g} % off", "estimate, 10 % off", "estimate - truth"]
    assert [place.get_title() for place in axes] == titles
    np.testing.assert_allclose(axes[3].collections[0].get_clim(), (-0.2, 0.2))
    bars = [child.get_ylabel() for place in axes for child in place.child_axes]
    assert bars == ["speed (m/s)", "error of speed (m/s)"]
    figure.canvas.draw()


def test_the_error_of_a_field_is_over_volumes_of_active_cells():
    mask = np.ones((6, 4), bool)
    mask[0] = False
    edges = np.array([0.0, 1.0, 3.0, 4.0, 5.0, 6.0, 7.0]), np.linspace(0.0, 1.0, 5)
    grid = Grid.from_edges(edges, active=mask)
    estimate = _TRUTH + 0.1
    estimate[0], estimate[1] = np.nan, _TRUTH[1] + 0.2
    _, axes = plot.figure(1, 3)
    _, error = plot.triptych(axes, grid, _TRUTH, _TRUTH, estimate)
    volumes = np.where(mask, np.diff(edges[0])[:, None], 0.0)
    wrong = np.where(np.arange(6) == 1, 0.2, 0.1)[:, None]
    assert error == pytest.approx(np.sqrt(np.sum(volumes * wrong**2) / np.sum(volumes * _TRUTH**2)))


def test_four_panels_in_two_rows_have_bars_that_do_not_overlap():
    figure, axes = plot.figure(2, 2)
    plot.triptych(axes, _GRID, _TRUTH, _TRUTH, 1.1 * _TRUTH)
    assert [len(place.child_axes) for place in axes.ravel()] == [0, 1, 0, 1]
    figure.draw_without_rendering()
    first, second = (axes[i, 1].child_axes[0].get_window_extent() for i in (0, 1))
    assert first.y0 > second.y1


def test_data_are_dots_with_bars_and_predictions_lines():
    sigma = np.full(_DATA.shape, 0.1)
    sigma[2, 1] = np.inf
    _, axes = plot.figure(1, 3)
    names = ["A", "B", "C"]
    predictions = {"start": 0 * _DATA, "estimate": _DATA}
    plot.data_fit(axes, _TIMES, _DATA, predictions, sigma=sigma, names=names, label="head", unit="m", time_unit="h")
    assert [place.get_title() for place in axes] == names
    assert _labels(axes[0]) == ["data", "start", "estimate"]
    assert axes[1].get_ylabel() == "head (m)"
    assert axes[1].get_xlabel() == "time (h)"
    dots, start, estimate = axes[1].lines
    np.testing.assert_array_equal(dots.get_ydata(), [0.0, 0.5, np.nan, 1.5, 2.0])
    assert dots.get_linestyle() == "None"
    assert len(axes[1].containers) == 1
    np.testing.assert_array_equal(start.get_ydata(), np.zeros(5))
    np.testing.assert_array_equal(estimate.get_ydata(), _DATA[:, 1])


def test_all_sensors_fit_into_one_axes():
    _, axes = plot.figure()
    plot.data_fit(axes, _TIMES, _DATA, {"estimate": _DATA}, title="all")
    assert len(axes.lines) == 6
    assert _labels(axes) == ["data", "estimate"]
    assert axes.get_title() == "all"
    _, axes = plot.figure()
    plot.data_fit(axes, _TIMES, _DATA[:, 0], {"estimate": _DATA[:, 0]}, sigma=0.1)
    assert len(axes.lines) == 2


def test_predictions_over_data_lie_on_a_diagonal():
    sigma = np.full(_DATA.shape, 0.1)
    sigma[0] = np.inf
    _, axes = plot.figure()
    plot.scatter_fit(axes, _DATA, 1.1 * _DATA, sigma=sigma, label="head", unit="m")
    diagonal, dots = axes.lines
    np.testing.assert_array_equal(diagonal.get_xdata(), diagonal.get_ydata())
    np.testing.assert_array_equal(dots.get_xdata(), _DATA[1:].ravel())
    np.testing.assert_array_equal(dots.get_ydata(), 1.1 * _DATA[1:].ravel())
    assert axes.get_xlabel() == "head, measured (m)"
    assert axes.get_aspect() == 1.0
    _, axes = plot.figure()
    plot.scatter_fit(axes, _DATA[1:], _DATA[1:], sigma=0.1, logarithmic=True)
    assert axes.get_xscale() == axes.get_yscale() == "log"
    assert _labels(axes) == ["± 2σ", "equal"]


def test_residuals_stand_in_bands_of_one_and_two_sigma():
    r = np.array([[1.0, -3.0], [0.5, np.nan], [0.0, 1.0]])
    _, axes = plot.figure()
    plot.residuals(axes, r, positions=np.array([10.0, 20.0]), along="distance", unit="m")
    bands = sorted(patch.get_extents().get_points()[:, 1].tolist() for patch in axes.patches)
    np.testing.assert_allclose(
        sorted(axes.transData.inverted().transform([[0, y] for band in bands for y in band])[:, 1]), [-2, -1, 1, 2]
    )
    dots, means = axes.lines[:2]
    np.testing.assert_array_equal(dots.get_xdata(), [10, 10, 10, 20, 20, 20])
    np.testing.assert_array_equal(means.get_ydata(), [0.5, -1.0])
    assert axes.get_xlabel() == "distance (m)"
    _, axes = plot.figure()
    plot.residuals(axes, r, along="time", axis=-2)
    assert len(axes.lines[1].get_ydata()) == 3


def test_a_map_of_residuals_is_white_at_zero_and_grey_where_nothing_is():
    r = np.array([[1.0, -3.0], [0.5, np.nan], [0.0, 1.0]])
    _, axes = plot.figure()
    bar = plot.residual_map(axes, r, times=np.array([0.0, 1.0, 3.0]), time_unit="h")
    mesh = axes.collections[0]
    assert mesh.get_clim() == (-4.0, 4.0)
    assert bool(mesh.get_array().reshape(3, 2).mask[1, 1])
    assert axes.get_ylim()[0] > axes.get_ylim()[1]
    np.testing.assert_allclose(axes.get_ylim(), (4.0, -0.5))
    assert axes.get_ylabel() == "time (h)"
    assert bar.ax.get_ylabel() == "residual / σ"


def test_the_histogram_has_area_one_and_tells_the_tails():
    values = np.concatenate([np.random.default_rng(0).standard_normal(999), [np.nan, 9.0]])
    _, axes = plot.figure()
    plot.residual_histogram(axes, values)
    assert sum(patch.get_width() * patch.get_height() for patch in axes.patches) == pytest.approx(1.0)
    finite = values[np.isfinite(values)]
    beyond = 100 * np.mean(np.abs(finite) > 2)
    assert f"{beyond:.3g} % beyond ± 2σ" in axes.get_title()
    assert f"rms {np.sqrt(np.mean(finite**2)):.3g}" in axes.get_title()


_HISTORY = History(tuple(Record(i, 10.0 / (i + 1), 3.0 / (i + 1), 8.0 * 0.5**i, i, True, 2.0 * i) for i in range(3)))


def test_convergence_over_seconds_of_all_quantities():
    _, axes = plot.figure()
    plot.convergence(axes, _HISTORY, quantities=("misfit", "loss", "gradient"), over="seconds")
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), [0.0, 2.0, 4.0])
    np.testing.assert_allclose(axes.lines[1].get_ydata(), [10.0, 5.0, 10 / 3])
    np.testing.assert_allclose(axes.lines[2].get_ydata(), [1.0, 0.5, 0.25])
    assert axes.get_xlabel() == "time since the start (s)"
    with pytest.raises(ValueError, match="asked for"):
        plot.convergence(axes, _HISTORY, quantities=("speed",))


def _search(criterion):
    fit = FitResult(None, _HISTORY, "", None, failed=False)
    weights = [1.0, 0.1, 0.01, 0.05]
    points = [WeightPoint(w, 1 + 10 * w, 1 + 0.1 / w, criterion(w), fit) for w in weights]
    return WeightResult(0.05, fit, WeightPath(tuple(points)), "", failed=False)


def test_an_l_curve_is_drawn_in_the_order_of_the_weights():
    _, axes = plot.figure()
    plot.l_curve(axes, _search(lambda _: np.nan), target=1.2, every=2)
    curve, chosen, target = axes.lines
    np.testing.assert_allclose(curve.get_xdata(), [1.1, 1.5, 2.0, 11.0])
    np.testing.assert_allclose(curve.get_ydata(), [11.0, 3.0, 2.0, 1.1])
    np.testing.assert_allclose([chosen.get_xdata()[0], chosen.get_ydata()[0]], [1.5, 3.0])
    assert list(target.get_xdata()) == [1.2, 1.2]
    assert axes.get_xscale() == axes.get_yscale() == "log"
    assert [text.get_text() for text in axes.texts] == ["1e-02", "1e-01"]
    assert "chosen, 0.05" in _labels(axes)


def test_cross_validation_over_the_weights():
    _, axes = plot.figure()
    plot.weight_criterion(axes, _search(lambda w: 2 + w))
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [2.01, 2.05, 2.1, 3.0])
    assert list(axes.lines[1].get_xdata()) == [0.05, 0.05]
    with pytest.raises(ValueError, match="computes nothing at each weight"):
        plot.weight_criterion(axes, _search(lambda _: np.nan))


_AT = np.array([0.1, 0.2, 0.3])
_WAVE = np.stack([amplitude * (_TRUTH - 1.5) for amplitude in (4.0, 2.0, 1.0)])


def test_snapshots_share_a_scale_that_is_white_at_zero():
    figure, axes = plot.figure(1, 3)
    bar = plot.snapshots(axes, _GRID, _WAVE, _AT, label="pressure", unit="Pa", time_unit="s")
    (limits,) = {place.collections[0].get_clim() for place in axes}
    assert limits[0] == -limits[1]
    assert limits[1] == pytest.approx(np.quantile(np.abs(_WAVE), 0.998))
    assert [place.get_title() for place in axes] == ["t = 0.1 s", "t = 0.2 s", "t = 0.3 s"]
    assert bar.ax.get_ylabel() == "pressure (Pa)"
    assert bar.extend == "neither"
    _, axes = plot.figure(1, 3)
    assert plot.snapshots(axes, _GRID, _WAVE, _AT, limit=1.0).extend == "both"
    _, axes = plot.figure(1, 3)
    bar = plot.snapshots(axes, _GRID, np.abs(_WAVE), _AT, diverging=False, limit=1.5)
    assert bar.extend == "max"
    assert axes[0].collections[0].get_clim() == (np.abs(_WAVE).min(), 1.5)
    figure.canvas.draw()


def test_an_animation_has_a_frame_for_each_time(tmp_path):
    path = plot.animate(tmp_path / "new" / "wave.gif", _GRID, _WAVE, _AT, seconds=1.5, size=(2.0, 2.0), dpi=40)
    with Image.open(path) as picture:
        assert picture.n_frames == 3
        assert picture.info["duration"] == 500
        frames = []
        for number in range(3):
            picture.seek(number)
            frames.append(np.asarray(picture.convert("RGB")).astype(int))
    assert np.abs(frames[0] - frames[2]).max() > 50


def test_an_animation_says_what_it_cannot_write(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"writes .gif and .mp4 files, not 'wave.avi'"):
        plot.animate(tmp_path / "wave.avi", _GRID, _WAVE, _AT)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="needs ffmpeg"):
        plot.animate(tmp_path / "wave.mp4", _GRID, _WAVE, _AT)


@pytest.mark.bad_input
def test_shapes_that_do_not_fit_are_refused():
    _, axes = plot.figure()
    with pytest.raises(ValueError, match="Give one run"):
        plot.residual_map(axes, np.zeros((2, 3, 4)))
    with pytest.raises(ValueError, match="2 times for 3 fields"):
        plot.snapshots([axes, axes, axes], _GRID, _WAVE, _AT[:2])
    with pytest.raises(ValueError, match="three axes, or on four"):
        plot.triptych([axes, axes], _GRID, _TRUTH, _TRUTH, _TRUTH)
    with pytest.raises(
        ValueError, match=r"5 times and data of shape \(5, 3\); predictions of shapes \{'p': \(5, 2\)\}"
    ):
        plot.data_fit(axes, _TIMES, _DATA, {"p": _DATA[:, :2]})
    with pytest.raises(ValueError, match="a prediction of shape"):
        plot.scatter_fit(axes, _DATA, _DATA[:, :2])


def test_figures_are_written_as_png_and_svg(tmp_path):
    figure, axes = plot.figure(size=(3.0, 3.0))
    plot.field(axes, _GRID, _TRUTH)
    for name in ("figure.png", "figure.svg"):
        figure.savefig(tmp_path / name)
        assert (tmp_path / name).stat().st_size > 1000


def test_the_package_does_not_import_matplotlib():
    program = "import sys, krylovpde; sys.exit('matplotlib' in sys.modules or 'krylovpde.plot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
