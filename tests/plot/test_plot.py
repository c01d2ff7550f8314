"""Figures can be drawn of what they are meant for, hold what they should, and refuse the rest."""

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt

from krylovpde import plot
from krylovpde.grid import Grid
from krylovpde.inverse import History, Record

_GRID = Grid(shape=(6, 4), lower=(0.0, 0.0), upper=(3.0, 1.0))
_SENSORS = np.array([[1.0, 0.5]])


def _history(misfits):
    return History(
        tuple(Record(i, 10 * m, m, 1.0, i + 1, True, float(i), {"error": m / 9}) for i, m in enumerate(misfits))
    )


def test_a_field_is_drawn_with_x_to_the_right_and_y_up():
    figure, axes = plot.figure()
    values = np.arange(24.0).reshape(6, 4)
    mesh = plot.field(axes, _GRID, values, title="speed", length_unit="m", sensors=_SENSORS, sources=_SENSORS + 0.1)
    drawn = np.asarray(mesh.get_array()).reshape(4, 6)
    np.testing.assert_array_equal(drawn[:, 0], values[0])
    assert mesh.get_clim() == (0.0, 23.0)
    assert axes.get_xlabel() == "x (m)"
    assert axes.get_xlim() == (0.0, 3.0)
    assert axes.get_aspect() == 1.0
    assert [line.get_label() for line in axes.lines] == ["sensors", "sources"]
    figure.canvas.draw()


def test_differences_are_white_at_zero():
    _, axes = plot.figure()
    mesh = plot.field(axes, _GRID, np.linspace(-1.0, 3.0, 24).reshape(6, 4), diverging=True)
    assert mesh.get_clim() == (-3.0, 3.0)


def test_compared_fields_share_the_scale_of_the_first():
    figure, axes = plot.figure(1, 3)
    truth = np.linspace(1.0, 2.0, 24).reshape(6, 4)
    fields = {"truth": truth, "start": np.full((6, 4), 1.5), "estimate": truth + 0.2}
    bar = plot.compare(axes, _GRID, fields, label="speed", unit="m/ms")
    assert {place.collections[0].get_clim() for place in axes} == {(1.0, 2.0)}
    assert [place.get_title() for place in axes] == list(fields)
    assert bar.ax.get_ylabel() == "speed (m/ms)"
    # One bar for the row, at the side of the last panel and of its height.
    assert [len(place.child_axes) for place in axes] == [0, 0, 1]
    figure.canvas.draw()


def test_a_constant_field_can_be_drawn():
    _, axes = plot.figure()
    assert plot.field(axes, _GRID, np.ones((6, 4))).get_clim() == (0.5, 1.5)


def test_convergence_shows_misfit_target_and_diagnostics():
    _, axes = plot.figure()
    plot.convergence(axes, _history([30.0, 5.0, 1.0]), diagnostics={"error": "field error"})
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["misfit χ²/N", "noise and mesh error", "field error"]
    assert axes.get_yscale() == "log"
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [30.0, 5.0, 1.0])


def test_convergence_of_a_loss_without_data_shows_the_loss():
    _, axes = plot.figure()
    history = History(tuple(Record(i, v, float("nan"), 1.0, 1, True, 0.0) for i, v in enumerate([3.0, 2.0])))
    plot.convergence(axes, history)
    assert axes.lines[0].get_label() == "loss"


def test_a_record_section_has_a_curve_for_each_time_and_record():
    figure, axes = plot.figure()
    data = np.random.default_rng(0).standard_normal((5, 30))
    plot.record_section(axes, np.linspace(0.1, 0.5, 5), {"data": data, "estimate": 0.9 * data}, time_unit="ms")
    assert len(axes.lines) == 10
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["data", "estimate"]
    assert axes.get_ylabel() == "time (ms)"
    figure.canvas.draw()


def test_figures_do_not_stay_open():
    before = plt.get_fignums()
    plot.figure(2, 2)
    assert plt.get_fignums() == before


def test_colours_are_colours():
    assert all(mpl.colors.is_color_like(colour) for colour in plot.COLOURS.values())


@pytest.mark.bad_input
def test_fields_of_other_shapes_are_refused():
    _, axes = plot.figure()
    with pytest.raises(ValueError, match=r"two-dimensional grids; got shape \(4, 6\) on grid.shape \(6, 4\)"):
        plot.field(axes, _GRID, np.ones((4, 6)))
    line = Grid(shape=(5,), lower=(0.0,), upper=(1.0,))
    with pytest.raises(ValueError, match="two-dimensional"):
        plot.field(axes, line, np.ones(5))
