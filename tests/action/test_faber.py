"""Faber's recurrence: values to the tolerance, its degree, walls, choice, and how it fails."""

import functools

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest
import scipy.linalg

import krylovpde as kp
from krylovpde.action._excitation import Released
from krylovpde.action._faber_series import expand_on_ellipse
from krylovpde.operator import Ellipse, numerical_range
from tests.helpers import relative_error, variants
from tests.told import Told, damped_wave, driven_states, ellipse

# High cell Péclet numbers are meant here.
pytestmark = pytest.mark.filterwarnings("ignore:AdvectionDiffusion. the cell:UserWarning")

RNG = np.random.default_rng(41)
SIZE = 40
LINE = kp.Grid(shape=(SIZE,), lower=(0.0,), upper=(1.0,))
GRADED = kp.Grid.from_edges([np.cumsum(np.r_[0.0, 1.04 ** np.arange(SIZE)])])
X = np.asarray(LINE.coordinates[0])
STARTS = {
    "rough": RNG.standard_normal(SIZE),
    "smooth": np.exp(-(((X - 0.4) / 0.1) ** 2)),
    "point": np.eye(SIZE)[3],
    "constant": np.ones(SIZE),
    "fastest": (-1.0) ** np.arange(SIZE),
}
KAPPA = jnp.asarray(1.0 + 0.5 * np.sin(7 * X) + 0.4 * (X > 0.6))


def line(peclet, boundary=None, scheme=None, grid=LINE):
    """One dimension, variable diffusivity; a velocity that vanishes nowhere and points inwards on the left."""
    width = float(np.max(grid.widths(0)))
    velocity = jnp.asarray((1.0 + 0.3 * np.cos(3 * X)) * peclet / width)
    return kp.AdvectionDiffusion(grid, KAPPA, (velocity,), boundary=boundary or kp.Neumann(), scheme=scheme)


def exact(operator, start, t):
    return scipy.linalg.expm(float(t) * np.asarray(operator.as_matrix())) @ start


@pytest.mark.parametrize("rtol", [1e-6, *(pytest.param(rtol, marks=pytest.mark.slow) for rtol in (1e-3, 1e-10))])
@pytest.mark.parametrize(
    "walls", ["open", *(pytest.param(walls, marks=pytest.mark.slow) for walls in ("periodic", "fixed"))]
)
def test_values_meet_the_tolerance(walls, rtol):
    boundary = {"periodic": kp.Periodic(), "open": kp.Neumann(), "fixed": kp.Dirichlet()}[walls]
    times = jnp.asarray([0.0, 1e-5, 1e-3, 0.05, 0.05])
    for peclet, scheme in ((0.1, None), (1.0, None), (1.0, kp.Upwind(order=3)), (6.0, kp.Upwind(order=1))):
        equation = line(peclet, boundary, scheme)
        solve = jax.jit(lambda v, equation=equation: kp.solve(equation, v, times, method=kp.Faber(), rtol=rtol).value)
        for start in STARTS.values():
            for t, value in zip(times, solve(jnp.asarray(start)), strict=True):
                reference = exact(equation.operator(), start, t)
                size = max(np.linalg.norm(reference), np.linalg.norm(start))
                assert np.linalg.norm(value - reference) <= rtol * size + 1e-13


@pytest.mark.parametrize("scheme", variants([kp.Central(), kp.Upwind(order=3)], quick=[kp.Upwind(order=3)]))
def test_graded_grids_in_their_weight_and_durations_of_both_signs(scheme):
    operator = line(0.8, kp.Periodic(), scheme, GRADED).operator()
    start, times = jnp.asarray(STARTS["rough"]), jnp.asarray([1.5, -0.4, 40.0])
    values = kp.expm_multiply(operator, start, times, method=kp.Faber(), rtol=1e-9).value
    for t, value in zip(times, values, strict=True):
        assert relative_error(value, exact(operator, start, t)) < 1e-8


def test_inflow_through_a_free_wall_is_no_growth_of_the_numerical_range():
    # Of 200 cells at a Péclet number of 2 the numerical range reaches κ/h² to the right: exp(tA) of it would be e^400.
    grid = kp.Grid(shape=(200,), lower=(0.0,), upper=(200.0,))
    operator = kp.AdvectionDiffusion(grid, 1.0, (2.0,)).operator()
    matrix = np.asarray(operator.as_matrix())
    assert np.linalg.eigvalsh((matrix + matrix.T) / 2)[-1] > 0.4
    starts = {"first cell": np.eye(200)[0], "rough": RNG.standard_normal(200)}
    for t in (5.0, 50.0, 400.0):
        propagator = scipy.linalg.expm(t * matrix)
        for start in starts.values():
            solution = kp.expm_multiply(operator, jnp.asarray(start), t, method=kp.Faber(), rtol=1e-6)
            reference = propagator @ start
            size = max(np.linalg.norm(reference), np.linalg.norm(start))
            assert np.linalg.norm(solution.value - reference) <= 1e-6 * size


@pytest.mark.slow
def test_sources_sensors_and_several_times():
    grid = kp.Grid(shape=(7, 6), lower=(0.0, 0.0), upper=(1.0, 1.0))
    fields = [jnp.asarray(RNG.uniform(0.5, 1.5, grid.shape)) for _ in range(3)]
    equation = kp.AdvectionDiffusion(
        grid, fields[0], (5.0, -3.0), source=fields[1], boundary=kp.Dirichlet(2.0), reaction_rate=-1.0
    )
    sensors, times = kp.Sensors(grid, [(0.21, 0.3), (0.7, 0.81)]), jnp.asarray([0.0, 0.03, 0.4])
    for observe in (None, sensors):
        mine, dense = (
            kp.solve(equation, fields[2], times, method=method, observe=observe, rtol=1e-9).value
            for method in (kp.Faber(), kp.Dense())
        )
        assert relative_error(mine, dense) < 1e-8
    # From rest nothing but the source moves.
    mine, dense = (
        kp.solve(equation, 0.0 * fields[2], times, method=method, rtol=1e-9).value
        for method in (kp.Faber(), kp.Dense())
    )
    assert relative_error(mine, dense) < 1e-8


@pytest.mark.slow
def test_phi_functions():
    operator = line(1.0).operator()
    vectors, times = [jnp.asarray(start) for start in list(STARTS.values())[:3]], jnp.asarray([1e-4, 0.02])
    mine, dense = (
        kp.phi_multiply(operator, vectors, times, method=method, rtol=1e-9).value for method in (kp.Faber(), kp.Dense())
    )
    assert relative_error(mine, dense) < 1e-8


def test_complex_states_and_single_precision():
    operator = line(1.0).operator()
    start = jnp.asarray(STARTS["rough"] + 1j * STARTS["smooth"])
    mine = kp.expm_multiply(operator, start, 0.01, method=kp.Faber(), rtol=1e-9).value
    assert relative_error(mine, exact(operator, np.asarray(start), 0.01)) < 1e-8
    single = kp.expm_multiply(operator, start.astype(jnp.complex64), 0.01, method=kp.Faber())
    assert single.value.dtype == jnp.complex64
    assert relative_error(single.value, mine) < 1e-4


@pytest.mark.slow
def test_a_flat_ellipse_is_chebyshev_and_an_upright_one_serves_rotations():
    diffusion = kp.Diffusion(LINE, KAPPA)
    mine, theirs = (
        kp.solve(diffusion, jnp.asarray(STARTS["rough"]), 0.01, method=method, rtol=1e-9)
        for method in (kp.Faber(), kp.Chebyshev())
    )
    assert relative_error(mine.value, theirs.value) < 1e-8
    assert abs(int(mine.stats.applications) - int(theirs.stats.applications)) <= 4
    matrix = RNG.standard_normal((6, 6))
    rotation = kp.annotate(
        lx.MatrixLinearOperator(jnp.asarray(matrix - matrix.T)), tags=kp.skew_adjoint_tag, spectral_bound=20.0
    )
    start = jnp.asarray(RNG.standard_normal(6))
    value = kp.expm_multiply(rotation, start, 2.5, method=kp.Faber(), rtol=1e-9).value
    assert relative_error(value, exact(rotation, start, 2.5)) < 1e-8


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("axes", [(3.0, 0.0), (3.0, 2.0), (2.0, 2.0), (1.0, 5.0), (0.0, 4.0), (0.0, 0.0)])
def test_the_series_holds_everywhere_in_the_ellipse(axes, level):
    real, imaginary = axes
    ellipse = Ellipse(*(jnp.asarray(x) for x in (-real - 0.3, real, imaginary)))
    times = jnp.asarray([0.0, 0.1, 7.0, -0.5])
    series = expand_on_ellipse(Released(level), times, ellipse, 1e-10, 512)
    assert bool(series.resolved)
    angles, shrink = np.linspace(0, 2 * np.pi, 33), RNG.uniform(0.0, 1.0, 33)
    points = float(ellipse.centre) + shrink * (real * np.cos(angles) + 1j * imaginary * np.sin(angles))
    outer, inner = (real + imaginary) / 2 or 1.0, (real - imaginary) / 2
    shifted = (points - float(ellipse.centre)) / outer
    terms = [2.0 * np.ones_like(points), shifted]
    for _ in range(int(series.terms) - 2):
        terms.append(shifted * terms[-1] - inner / outer * terms[-2])
    for row, t in zip(np.asarray(series.coefficients[0]), np.asarray(times), strict=True):
        value = sum(c * f for c, f in zip(row, terms, strict=False))
        # A column of the exponential of a nilpotent chain beside z: t^l φ_l(t z).
        matrices = [np.diag([z, *[0.0] * level]) + np.diag(np.ones(level), 1) for z in points]
        expected = np.asarray([scipy.linalg.expm(t * m)[0, level] for m in matrices])
        size = np.max(np.abs(expected)) or 1.0
        assert np.max(np.abs(value - expected)) <= 1e-9 * max(size, 1.0)


@pytest.mark.parametrize("peclet", [0.1, 1.0, 2.0])
@pytest.mark.slow
def test_the_degree_is_what_the_flow_and_the_spread_need(peclet):
    grid = kp.Grid(shape=(64, 64), lower=(0.0, 0.0), upper=(64.0, 64.0))
    operator = kp.AdvectionDiffusion(grid, 1.0, (peclet, -peclet), boundary=kp.Periodic()).operator()
    ellipse, t = numerical_range(operator), 200.0
    start = jnp.zeros(grid.shape).at[3, 4].set(1.0)
    solution = kp.expm_multiply(operator, start, t, method=kp.Faber(), rtol=1e-6)
    cells, variance = t * float(ellipse.imaginary), t * float(ellipse.real)
    assert abs(cells - 2 * peclet * t) < 1e-6 * cells
    assert cells + 3 * np.sqrt(variance) < float(solution.stats.applications) < cells + 7 * np.sqrt(variance)
    assert solution.stats.num_steps == 1


@pytest.mark.slow
def test_where_it_is_chosen():
    start = jnp.asarray(STARTS["smooth"])
    chosen = {
        "uniform": kp.solve(line(1.0), start, 0.01).stats,
        "graded": kp.solve(line(1.0, grid=GRADED), start, 0.01).stats,
        "either sign": kp.expm_multiply(line(1.0).operator(), start, 0.01).stats,
        "diffusion": kp.solve(kp.Diffusion(LINE, KAPPA), start, 0.01).stats,
    }
    driven = kp.AdvectionDiffusion(GRADED, 1.0, (1.0,), source=kp.Source(1.0, kp.Sampled([0.0, 1.0], [1.0, 2.0])))
    chosen["driven, graded"] = kp.solve(driven, start, 0.01).stats
    names = {where: (stats.method, stats.adjoint) for where, stats in chosen.items()}
    assert names == {
        "uniform": ("Faber", "CheckpointedAdjoint"),
        "graded": ("Arnoldi", "TwoSidedAdjoint"),
        "either sign": ("Arnoldi", "TwoSidedAdjoint"),
        "diffusion": ("Chebyshev", "ReversibleAdjoint"),
        "driven, graded": ("Faber", "CheckpointedAdjoint"),
    }


def test_a_range_outside_of_the_ellipse_is_told():
    # A false tag: the ellipse is taken for flat.
    operator = kp.annotate(line(2.0).operator(), tags=kp.self_adjoint_tag)
    start = jnp.asarray(STARTS["rough"])
    solution = kp.expm_multiply(operator, start, 0.05, method=kp.Faber(), throw=False)
    assert solution.result == kp.RESULTS.bound_violated
    assert bool(jnp.all(jnp.isnan(solution.value)))
    with pytest.raises(Exception, match="ellipse"):
        kp.expm_multiply(operator, start, 0.05, method=kp.Faber())


def sheared(shear):
    """`u' = B u`, `q' = B q + shear u`: normal but for what feeds q; the ellipse is that of B."""
    line = jnp.asarray(np.diag(np.ones(11), 1) - np.diag(np.ones(11), -1) - 0.2 * np.eye(12))
    apply = lambda x: jnp.stack([line @ x[0], line @ x[1] + shear * x[0]])  # noqa: E731
    like = jax.ShapeDtypeStruct((2, 12), jnp.float64)
    return Told(lx.FunctionLinearOperator(apply, like), ellipse(-0.2, 0.2, 2.0))


@pytest.mark.parametrize(("shear", "accepted"), [(3.0, True), (1e9, False)])
def test_transient_growth_is_counted_and_refused_only_where_it_spoils_the_result(shear, accepted):
    operator, start = sheared(shear), jnp.asarray(RNG.standard_normal((2, 12)))
    solution = kp.expm_multiply(operator, start, 20.0, method=kp.Faber(max_degree=256), rtol=1e-9, throw=False)
    assert (solution.result == kp.RESULTS.successful) == accepted
    if accepted:
        error = relative_error(solution.value.ravel(), exact(operator, np.asarray(start).ravel(), 20.0))
        assert error < 1e-9
        # Vectors a hundred times longer than the ellipse alone would have them.
        assert error < float(solution.stats.error_estimate) < 1e-9
        assert float(solution.stats.error_estimate) > 1e-13
    else:
        assert solution.result == kp.RESULTS.bound_violated


@pytest.mark.parametrize("dtype", [jnp.float64, pytest.param(jnp.float32, marks=pytest.mark.slow)])
def test_sources_of_one_part_of_a_state(dtype):
    rng = np.random.default_rng(6)
    parameters = jnp.asarray(rng.uniform(1.2, 1.6, 9)), jnp.asarray(rng.uniform(0.0, 0.8, 9))
    operator = damped_wave(*parameters, dtype=dtype)
    zero = {"p": jnp.zeros(9, dtype), "v": jnp.zeros(8, dtype)}
    edges, times = np.asarray([0.5, 1.0, 1.0, 2.5]), np.asarray([0.7, 1.0, 1.9, 12.0])
    signal = kp.Sampled(edges, np.asarray([0.0, 1.0, -2.0, 1.0]))
    source = kp.Source({"p": jnp.eye(9)[2], "v": 0.0}, signal)
    solution = kp.solve(kp.Linear(operator, source), zero, times, method=kp.Faber(max_degree=512))
    flat = jnp.concatenate([solution.value["p"], solution.value["v"]], axis=1)
    assert flat.dtype == dtype
    rest = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), zero)
    double = damped_wave(*parameters)
    expected = driven_states(double, rest, [(source.field(double.in_structure()), signal)], edges, times)
    for mine, theirs in zip(flat, expected, strict=True):
        assert relative_error(mine, theirs) < (1e-6 if dtype == jnp.float64 else 1e-4)


@pytest.mark.slow
def test_many_times_and_sensors_are_read_from_one_recurrence():
    grid = kp.Grid(shape=(9, 8), lower=(0.0, 0.0), upper=(1.0, 1.0))
    times = np.linspace(0.0, 0.4, 40)
    source = kp.PointSource(grid, [0.4, 0.6], kp.Sampled(times[::3], np.sin(30 * times[::3])))
    equation = kp.AdvectionDiffusion(grid, 1.0, (5.0, -3.0), source=source)
    sensors, rest = kp.Sensors(grid, [[0.2, 0.3], [0.7, 0.9]]), jnp.zeros(grid.shape)
    solve = functools.partial(kp.solve, equation, rest, observe=sensors, method=kp.Faber(max_degree=128), rtol=1e-9)
    together, few = solve(times), solve(times[4::8])
    assert together.stats.num_steps == 1
    assert relative_error(together.value[4::8], few.value) < 1e-9


def test_other_failures_are_told():
    operator, start = line(1.0).operator(), jnp.asarray(STARTS["rough"])

    def run(t, vector=start, **options):
        return kp.expm_multiply(operator, vector, t, method=kp.Faber(**options), throw=False).result

    assert run(0.1, max_degree=32) == kp.RESULTS.max_degree_reached
    assert run(0.1, start.at[3].set(jnp.nan)) == kp.RESULTS.nonfinite
    # Backwards in time by e^100000: not in this precision.
    assert run(-1e5 / float(kp.spectral_bound(operator))) != kp.RESULTS.successful
    assert run(0.0, 0.0 * start) == kp.RESULTS.successful


@pytest.mark.bad_input
def test_what_it_does_not_serve_is_refused():
    start = jnp.asarray(STARTS["rough"])
    dense = lx.MatrixLinearOperator(jnp.eye(SIZE))
    with pytest.raises(ValueError, match="ellipse"):
        kp.expm_multiply(dense, start, 0.1, method=kp.Faber())
    with pytest.raises(ValueError, match="first order in time"):
        kp.solve(kp.Wave(LINE, KAPPA), kp.WaveState(start, start), 0.1, method=kp.Faber())
    with pytest.raises(ValueError, match=r"CheckpointedAdjoint\(\)"):
        kp.solve(line(1.0), start, 0.1, method=kp.Faber(), adjoint=kp.TwoSidedAdjoint())
    with pytest.raises(ValueError, match="cannot differentiate"):
        kp.solve(line(1.0), start, 0.1, method=kp.Arnoldi(), adjoint=kp.CheckpointedAdjoint())
    with pytest.raises(ValueError, match="max_degree"):
        kp.Faber(max_degree=4)
