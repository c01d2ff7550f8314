"""Files of measurements: what is read is what was written, in the units asked for, and malformed files are told so."""

import os
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import xarray

import krylovpde as kp
from krylovpde.inverse import (
    Column,
    LeastSquares,
    Long,
    Matrix,
    Observations,
    Wide,
    from_xarray,
    read_csv,
    read_netcdf,
    read_npz,
)

_MEASURED = Path(os.environ.get("KRYLOVPDE_DATA") or Path(__file__).parents[3] / "shared" / "data")


@pytest.fixture
def write(tmp_path):
    def writer(text, encoding="utf-8"):
        path = tmp_path / "table.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return writer


def test_a_wide_table_with_units_in_the_names(write):
    path = write("time [h],T_1m [degC],T_2m [degC]\n0,-1.0,2.5\n6,-2.0,3.5\n")
    layout = Wide(Column("time", to="d"), {"T_1m": 1.0, "T_2m [degC]": 2.0}, to="K", position_unit="m", sigma=0.05)
    found = read_csv(path, layout)
    np.testing.assert_allclose(found.times, [0.0, 0.25])
    np.testing.assert_array_equal(found.points, [[1.0], [2.0]])
    np.testing.assert_allclose(found.values, [[272.15, 275.65], [271.15, 276.65]], rtol=1e-15)
    assert found.units == {"time": "d", "position": "m", "value": "K"}
    assert float(found.sigma) == 0.05
    assert found.mask is None
    assert found.num_data == 4


def test_a_long_table_whose_sensors_have_times_of_their_own(write):
    path = write(
        "x [cm], y [cm], time [min], u [degC], sd [degC]\n"
        "10, 0, 1, 5.0, 0.5\n10, 0, 2, 6.0, 0.25\n0, 20, 2, 7.0, 0.125\n0, 20, 4, 8.0, 1.0\n"
    )
    found = read_csv(
        path, Long(Column("time", to="s"), [Column("x", to="m"), Column("y", to="m")], Column("u", to="K"), sigma="sd")
    )
    np.testing.assert_allclose(found.times, [60.0, 120.0, 240.0])
    np.testing.assert_allclose(found.points, [[0.0, 0.2], [0.1, 0.0]])
    np.testing.assert_array_equal(found.mask, [[False, True], [True, True], [True, False]])
    np.testing.assert_allclose(found.values - 273.15, [[np.nan, 5.0], [7.0, 6.0], [8.0, np.nan]])
    np.testing.assert_allclose(
        np.asarray(found.sigma)[found.mask], [0.5, 0.125, 0.25, 1.0]
    )  # a difference loses no 273.15
    assert found.num_data == 4


def test_powers_are_read_as_spreadsheets_write_them(write):
    found = read_csv(write("t [h],q [m3/d],v [m s-1]\n0,1,2\n"), Wide("t", {"q": 0.0}, to="l/s"))
    np.testing.assert_allclose(found.values, [[1000.0 / 86400.0]], rtol=1e-14)
    found = read_csv(write("t [h],q [m3/d],v [m s-1]\n0,1,2\n"), Wide("t", {"v": 0.0}, to="km/h"))
    np.testing.assert_allclose(found.values, [[7.2]], rtol=1e-14)


def test_byte_order_mark_comments_white_space_and_line_ends(write):
    path = write("\ufeff# a comment\r\ntime  head\r\n\r\n1\t 0.5 \r\n2.5  0.25\r\n# the end\r\n")
    found = read_csv(path, Wide("time", {"head": 30.0}), delimiter=None)
    np.testing.assert_array_equal(found.times, [1.0, 2.5])
    np.testing.assert_array_equal(found.values, [[0.5], [0.25]])
    assert found.units == {"time": None, "position": None, "value": None}
    bare = read_csv(write("1;0.5\n2.5;0.25\n"), Wide(Column(0, "min", to="s"), {1: 30.0}), delimiter=";", header=False)
    np.testing.assert_allclose(bare.times, [60.0, 150.0])
    latin = read_csv(write("t [°],u\n0,1\n", "latin-1"), Wide(Column(0, unit="s"), {"u": 0.0}), encoding="latin-1")
    assert latin.units["time"] == "s"


def test_dates_become_durations(write):
    text = "when,u\n2014-12-04T00:00:00,1.0\n2014-12-04 01:30,2.0\n2014-12-04T04:00:00+02:00,3.0\n"
    found = read_csv(write(text), Wide("when", {"u": 0.0}))
    np.testing.assert_array_equal(found.times, [0.0, 5400.0, 7200.0])
    assert found.origin == np.datetime64("2014-12-04")
    assert found.units["time"] == "s"
    shifted = read_csv(write(text), Wide(Column("when", to="d"), {"u": 0.0}, origin="2014-12-03T12:00"))
    np.testing.assert_allclose(shifted.times, [0.5, 0.5625, 7 / 12], rtol=1e-14)


def test_what_is_missing_is_masked(write):
    found = read_csv(write("t,a,b\n0,1.0,\n1,NA,4.0\n"), Wide("t", {"a": 0.1, "b": 0.2}), missing=("", "NA"))
    np.testing.assert_array_equal(found.mask, [[True, False], [False, True]])
    experiment = found.experiment(kp.Grid(4, 0.0, 1.0), jnp.zeros(4))
    np.testing.assert_array_equal(experiment.measurements[1], [[1.0, np.inf], [np.inf, 1.0]])
    rows = read_csv(write("t,x,u,s\n0,1,2,0.5\n0,2,NA,NA\n"), Long("t", "x", "u", sigma="s"), missing=("NA",))
    np.testing.assert_array_equal(rows.mask, [[True, False]])
    with pytest.raises(ValueError, match="must be positive, but 1 of 2 are not"):
        read_csv(write("t,x,u,s\n0,1,2,0.5\n0,2,3,NA\n"), Long("t", "x", "u", sigma="s"), missing=("NA",))


def test_an_experiment_from_observations(write):
    found = read_csv(write("t,a,b\n0.01,1.0,2.0\n0.02,1.5,2.5\n"), Wide("t", {"a": 0.2, "b": 0.7}, sigma=[0.1, 0.2]))
    grid = kp.Grid(8, 0.0, 1.0)
    experiment = found.experiment(grid, jnp.zeros(8), t0=0.005, method=kp.Dense())
    loss = LeastSquares(experiment, *experiment.measurements)
    expected = 0.5 * np.sum(((found.values - 0.0) / [0.1, 0.2]) ** 2)  # zero stays zero
    np.testing.assert_allclose(loss(kp.Diffusion(grid, 1.0)), expected, rtol=1e-12)
    assert experiment.observe == kp.Sensors(grid, [0.2, 0.7])
    assert experiment.options == {"method": kp.Dense()}


def test_parts_series_and_profiles():
    values = np.array([[1.0, 2.0, np.nan], [3.0, 4.0, 5.0], [5.0, 8.0, 6.0]])
    seen = Observations(np.arange(3.0), np.array([[0.5], [0.1], [0.9]]), values, 0.1, np.isfinite(values))
    part = seen.select(times=seen.times > 0.5, sensors=[2, 0])
    np.testing.assert_array_equal(part.values, [[5.0, 3.0], [6.0, 5.0]])
    np.testing.assert_array_equal(part.points, [[0.9], [0.5]])
    np.testing.assert_array_equal(part.sigma, np.full((2, 2), 0.1))
    np.testing.assert_array_equal(seen.series(2).times, [1.0, 2.0])
    np.testing.assert_array_equal(seen.series(2).values, [5.0, 6.0])
    np.testing.assert_allclose(seen.profile(0, np.array([0.0, 0.3, 1.0])), [2.0, 1.5, 1.0])


def test_npz_files(tmp_path):
    path = tmp_path / "data.npz"
    times, values = np.array([1, 2]), np.array([[1.0, np.nan], [2.0, 3.0]], np.float32)
    points = np.array([[0.1, 0.2], [0.3, 0.4]])
    np.savez(path, **{"time [h]": times, "at [m]": points, "head [cm]": values, "sd [mm]": np.array([1.0, 2.0])})
    found = read_npz(path, Matrix(Column("time", to="s"), "at", Column("head", to="m"), sigma="sd"), missing=True)
    np.testing.assert_array_equal(found.times, [3600.0, 7200.0])
    np.testing.assert_allclose(found.values, values / 100.0, rtol=1e-6)
    np.testing.assert_allclose(found.sigma, [0.001, 0.002])
    np.testing.assert_array_equal(found.mask, [[True, False], [True, True]])
    np.testing.assert_array_equal(found.points, points)
    np.savez(path, t=np.array([0.0, 1.0, 0.0]), x=np.array([0.1, 0.1, 0.2]), u=np.array([1, 2, 3]))
    rows = read_npz(path, Long("t", "x", "u", sigma=1))
    np.testing.assert_array_equal(rows.mask, [[True, True], [True, False]])


def _dataset():
    dates = np.datetime64("2014-11-09T15:00", "ns") + np.arange(3) * np.timedelta64(1, "h")
    return xarray.Dataset(
        {
            "temperature": (("depth", "time"), np.arange(6.0).reshape(2, 3), {"units": "degC"}),
            "spread": (("time", "depth"), np.full((3, 2), 0.5), {"units": "K"}),
        },
        coords={"time": dates, "depth": ("depth", [30.0, 100.0], {"units": "cm"})},
    )


@pytest.mark.parametrize("engine", ["h5netcdf", "scipy"])
def test_netcdf_files(tmp_path, engine):
    path = tmp_path / "ice.nc"
    _dataset().to_netcdf(path, engine=engine)
    layout = Matrix("time", Column("depth", to="m"), Column("temperature", to="K"), sigma="spread")
    found = read_netcdf(path, layout, engine=engine)
    np.testing.assert_array_equal(found.times, [0.0, 3600.0, 7200.0])
    np.testing.assert_allclose(found.points, [[0.3], [1.0]])
    np.testing.assert_allclose(found.values, np.arange(6.0).reshape(2, 3).T + 273.15)
    np.testing.assert_allclose(found.sigma, np.full((3, 2), 0.5))
    assert found.units == {"time": "s", "position": "m", "value": "K"}
    assert found.origin == np.datetime64("2014-11-09T15:00")


_TWO = Wide("t", {"a": 0.1, "b": 0.2})


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("text", "layout", "message"),
    [
        ("", _TWO, "is empty"),
        ("# nothing\n\n", _TWO, "is empty"),
        ("t,a,b\n", _TWO, "has a header but no rows"),
        ("t,a\n0,1\n", _TWO, r"has no column 'b'; its columns are \['t', 'a'\]"),
        ("t,a,a\n0,1,1\n", _TWO, "more than one column 'a'"),
        ("t,a,b\n0,1\n", _TWO, "line 2: 2 cells where there are 3 columns"),
        ("t,a,b\n0,1,2\n1,1,nan\n", _TWO, r"column 'b', line 3: 'nan' is no finite number.*missing=\('nan',\)"),
        ("t,a,b\n0,1,2\n1,x7,1\n", _TWO, "column 'a', line 3: 'x7' is no finite number"),
        ("t,a,b\n0,1,2\nsoon,1,1\n", _TWO, "column 't', line 3: 'soon' is no finite number"),
        ("t,a,b\n2015-01-01,1,2\n2015-13-01,1,1\n", _TWO, "line 3: '2015-13-01' is no ISO date"),
        ("# c\nt,a,b\n0,1,2\n2,1,2\n1,1,2\n", _TWO, "line 5: time 1 comes after 2 of line 4"),
        ("t,a,b\n0,1,2\n0,1,2\n", _TWO, "line 3: the same time and place as line 2"),
        ("t [flop],a,b\n0,1,2\n", _TWO, r"column 't \[flop\]': \[flop\] is no unit that pint knows"),
        ("t [m],a,b\n0,1,2\n", _TWO, r"\[m\] is \[length\], but must be a unit of \[time\]"),
        ("t,a,b\n0,1,2\n", Wide(Column("t", to="s"), {"a": 0.1}), r"cannot be converted to \[s\]"),
        ("t,a [m],b\n0,1,2\n", Wide("t", {"a": 0.1}, to="kg"), r"\[m\] is no \[kg\]"),
        ("t,a [m],b [s]\n0,1,2\n", _TWO, r"the sensors are in the units \['m', 's'\]"),
        ("t,x,u\n0,1,2\n1,1,3\n0,2,1\n1,1,3\n", Long("t", "x", "u"), "line 5: the same time and place as line 3"),
        ("t,x,u\n1,1,2\n1,2,3\n0,1,1\n", Long("t", "x", "u"), "line 4: time 0 comes after 1 of line 2"),
        ("t,x [m],y [s],u\n1,1,2,3\n", Long("t", ["x", "y"], "u"), "the coordinates are in the units"),
        ("t,x,u,s\n1,1,2,0\n", Long("t", "x", "u", sigma="s"), "must be positive, but 1 of 1 are not"),
    ],
)
def test_malformed_files(write, text, layout, message):
    with pytest.raises(ValueError, match=message):
        read_csv(write(text), layout)


@pytest.mark.bad_input
def test_sensors_outside_of_the_grid_and_other_encodings(write):
    found = read_csv(write("t,a,b\n0,1,2\n"), Wide("t", {"a": 0.1, "b": 1.2}))
    with pytest.raises(ValueError, match=r"1 of 2 points lie outside of the grid; the first is number 1 at \[1.2\]"):
        found.experiment(kp.Grid(4, 0.0, 1.0), jnp.zeros(4))
    with pytest.raises(ValueError, match="is no text in 'utf-8-sig'"):
        read_csv(write("t [°],u\n0,1\n", "latin-1"), Wide("t", {"u": 0.0}))


@pytest.mark.bad_input
def test_malformed_arrays(tmp_path):
    path = tmp_path / "data.npz"
    for changes, message in (
        ({"u": np.array([[0.0], [np.nan]])}, r"column 'u', entry 1: \[nan\] is not finite.*missing=True"),
        ({"u": np.zeros((2, 3))}, r"the values have shape \(2, 3\), but there are 2 times and 1 points"),
        ({"t": np.array([1.0, 0.0])}, "entry 1: times must increase, but 0 comes after 1"),
        ({"u": np.zeros((2, 1), complex)}, "holds complex128, not real numbers"),
        ({"t": np.zeros(0), "u": np.zeros((0, 1))}, "has no times"),
    ):
        np.savez(path, **{"t": np.arange(2.0), "x": np.array([0.1]), "u": np.zeros((2, 1)), **changes})
        with pytest.raises(ValueError, match=message):
            read_npz(path, Matrix("t", "x", "u"))


@pytest.mark.bad_input
def test_other_malformed_things(tmp_path):
    path = tmp_path / "data.npz"
    path.write_text("no zip")
    with pytest.raises(ValueError, match="is no NPZ file"):
        read_npz(path, Matrix("t", "x", "u"))
    dataset = _dataset()
    np.savez(path, t=np.arange(2.0), x=np.zeros(2), u=np.zeros((2, 1)))
    with pytest.raises(ValueError, match="needs arrays of one axis, equally long"):
        read_npz(path, Long("t", "x", "u"))
    with pytest.raises(ValueError, match=r"dataset has no variable 'heat'; its variables are \['depth', 'spread'"):
        from_xarray(dataset, Matrix("time", "depth", "heat"))
    with pytest.raises(ValueError, match=r"'depth' has the dimensions \('depth',\) and 'time'"):
        from_xarray(dataset, Matrix("time", "depth", "depth"))
    with pytest.raises(ValueError, match="values of shape"):
        Observations(np.arange(2.0), np.zeros((1, 1)), np.zeros((3, 1)))
    with pytest.raises(ValueError, match="times must increase"):
        Observations(np.zeros(2), np.zeros((1, 1)), np.zeros((2, 1)))
    with pytest.raises(ValueError, match="1 of 2 values are not finite"):
        Observations(np.arange(2.0), np.zeros((1, 1)), np.array([[1.0], [np.nan]]))
    with pytest.raises(ValueError, match="points have 2 coordinates"):
        Observations(np.arange(1.0), np.zeros((1, 2)), np.zeros((1, 1))).profile(0, np.zeros(3))


@pytest.mark.skipif(not (_MEASURED / "pumping_tests").is_dir(), reason="the measured data are not there")
def test_measured_data_are_read():
    wells = {
        "piezometer_h30.txt": ("min", 34),
        "piezometer_h90.txt": ("min", 35),
        "texas40.txt": ("d", 26),
        "texas80.txt": ("d", 26),
        "pumptest_neuman.txt": ("min", 72),
    }
    for name, (unit, count) in wells.items():
        path = _MEASURED / "pumping_tests" / name
        well = read_csv(path, Wide(Column(0, unit, to="d"), {1: 30.0}), delimiter=None, header=False)
        assert well.values.shape == (count, 1)
    sensors = {f"T_{depth}m_C": depth for depth in (0.3, 1.0, 10.0)}
    layout = Wide(Column("datetime", to="d"), sensors, unit="degC", to="K", origin="2014-12-04")
    ice = read_csv(_MEASURED / "glacier_ice_temperature" / "borehole_248_wide.csv", layout)
    assert ice.values.shape == (3767, 3)
    assert ice.times[0] == -24.375
    assert 255.0 < ice.values.min() < ice.values.max() < 276.0
    density = Column("AvgDens", "1/um**2", to="1/mm**2")
    cells = read_csv(
        _MEASURED / "scratch_assay_pc3" / "CellDensity_10.csv", Long(Column("Time", "h"), "Position", density)
    )
    assert cells.values.shape == (5, 38)
    assert cells.values[0, 0] == pytest.approx(289.0)
    curves = _MEASURED / "column_tracer_cxtfit" / "fig7_3a_step_breakthrough.csv"
    tracer = read_csv(curves, Long("time_as_given", "depth_cm", "c_over_c0", sigma=0.01))
    assert tracer.num_data == 105
    np.testing.assert_array_equal(tracer.points[:, 0], [11.0, 17.0, 23.0])
