"""Chebyshev's recurrence: values to the tolerance, on smooth and rough data, and how it fails."""

import itertools

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest
import scipy.linalg

import krylovpde as kp
from krylovpde.action._phase import cos_sin
from tests.helpers import relative_error, variants

RNG = np.random.default_rng(31)
SIZE = 40
LINE = kp.Grid(shape=(SIZE,), lower=(0.0,), upper=(1.0,))
X = np.asarray(LINE.coordinates[0])
STARTS = {
    "rough": RNG.standard_normal(SIZE),
    "smooth": np.exp(-(((X - 0.4) / 0.1) ** 2)),
    "point": np.eye(SIZE)[7],
    "null mode": np.ones(SIZE),
    "fastest mode": (-1.0) ** np.arange(SIZE),
}
KAPPA = 1.0 + 0.5 * np.sin(7 * X) + 0.4 * (X > 0.6)


# Each tolerance is a program of its own, each start is not.
@pytest.mark.parametrize(
    ("start", "rtol"),
    variants(itertools.product(STARTS, (1e-3, 1e-6, 1e-10)), quick=[(start, 1e-6) for start in STARTS]),
)
def test_diffusion_and_waves_meet_the_tolerance(start, rtol):
    vector = jnp.asarray(STARTS[start])
    matrix = np.asarray(kp.Diffusion(LINE, KAPPA).operator().as_matrix())
    times = jnp.asarray([0.0, 1e-5, 1e-3, 0.02, 0.02])
    heat = kp.solve(kp.Diffusion(LINE, KAPPA), vector, times, method=kp.Chebyshev(), rtol=rtol)
    assert heat.stats.method == "Chebyshev"
    for time, value in zip(times, heat.value, strict=True):
        error = np.linalg.norm(value - scipy.linalg.expm(float(time) * matrix) @ vector)
        assert error <= rtol * np.linalg.norm(vector)

    matrix = np.asarray(kp.Wave(LINE, KAPPA).operator().as_matrix())
    generator = np.block([[np.zeros_like(matrix), np.eye(SIZE)], [matrix, np.zeros_like(matrix)]])
    for first, second in ((vector, 0 * vector), (0 * vector, vector)):
        times = jnp.asarray([0.0, 1e-3, 0.5, 4.0])
        wave = kp.solve(kp.Wave(LINE, KAPPA), kp.WaveState(first, second), times, rtol=rtol)
        for i, time in enumerate(times):
            exact = scipy.linalg.expm(float(time) * generator) @ np.concatenate([first, second])
            for mine, theirs, begun in (
                (wave.value.displacement[i], exact[:SIZE], first),
                (wave.value.velocity[i], exact[SIZE:], second),
            ):
                size = max(np.linalg.norm(theirs), np.linalg.norm(begun))
                assert np.linalg.norm(mine - theirs) <= 10 * rtol * size + 1e-11


@pytest.mark.parametrize(
    "kind", variants(["zero", "one", "negative", "indefinite", "skew"], slow=["one", "indefinite"])
)
def test_awkward_operators(kind):
    shape = jax.ShapeDtypeStruct((5,), jnp.float64)
    diagonal = {
        "zero": np.zeros(5),
        "one": np.ones(5),
        "negative": np.linspace(-90, -80, 5),
        "indefinite": np.linspace(-9, 4, 5),
    }
    vector, times = jnp.asarray(RNG.standard_normal(5)), jnp.asarray([-0.3, 0.0, 0.7])
    if kind == "skew":
        matrix = RNG.standard_normal((5, 5))
        matrix = matrix - matrix.T
        operator = kp.annotate(
            lx.MatrixLinearOperator(jnp.asarray(matrix)), tags=kp.skew_adjoint_tag, spectral_bound=20.0
        )
    else:
        numbers = jnp.asarray(diagonal[kind])
        matrix = np.diag(diagonal[kind])
        operator = lx.FunctionLinearOperator(lambda x: numbers * x, shape)
        tags = [kp.self_adjoint_tag] + [lx.negative_semidefinite_tag] * (kind == "negative")
        operator = kp.annotate(operator, tags=tags, spectral_bound=float(np.abs(numbers).max()))
    solution = kp.expm_multiply(operator, vector, times, method=kp.Chebyshev(), rtol=1e-9)
    for time, value in zip(times, solution.value, strict=True):
        exact = scipy.linalg.expm(float(time) * matrix) @ vector
        assert np.linalg.norm(value - exact) <= 1e-9 * max(np.linalg.norm(exact), np.linalg.norm(vector))


@pytest.mark.slow
def test_single_precision_over_many_wavelengths():
    grid = kp.Grid(shape=(200,), lower=(0.0,), upper=(1.0,))
    (x,) = grid.coordinates
    start = np.exp(-(((x - 0.4) / 0.05) ** 2))
    values = []
    for dtype in (jnp.float32, jnp.float64):
        state = kp.WaveState(jnp.asarray(start, dtype), jnp.zeros(grid.shape, dtype))
        # 4 crossings: R = 1600. A plain product of phases would lose 1e-4 here.
        values.append(kp.solve(kp.Wave(grid, 1.0), state, 4.0).value.displacement)
    assert values[0].dtype == jnp.float32
    assert relative_error(values[0], values[1]) < 1e-4


@pytest.mark.parametrize("radians", [1.0, 440.0, 30000.0])
def test_phases_keep_their_digits(radians):
    factors = np.sin((np.arange(512) + 0.5) * np.pi / 1024)
    cosine, sine = jax.jit(lambda r: cos_sin(r, factors))(jnp.asarray([radians], jnp.float32))
    assert np.abs(np.asarray(cosine[0]) - np.cos(radians * factors)).max() < 2e-7
    assert np.abs(np.asarray(sine[0]) - np.sin(radians * factors)).max() < 2e-7


def test_a_violated_bound_is_told():
    operator = kp.Laplacian(LINE)
    honest = kp.expm_multiply(operator, jnp.asarray(STARTS["rough"]), 0.01, method=kp.Chebyshev())
    assert honest.result == kp.RESULTS.successful
    wrong = kp.annotate(
        lx.FunctionLinearOperator(operator.mv, operator.in_structure()),
        tags=kp.self_adjoint_tag,
        spectral_bound=0.5 * kp.spectral_bound(operator),
    )
    solution = kp.expm_multiply(wrong, jnp.asarray(STARTS["rough"]), 0.01, method=kp.Chebyshev(), throw=False)
    assert solution.result == kp.RESULTS.bound_violated
    assert bool(jnp.all(jnp.isnan(solution.value)))


def test_the_degree_follows_the_duration_without_recompilation():
    traced = []

    @jax.jit
    def solve(t):
        traced.append(None)
        state = kp.WaveState(jnp.asarray(STARTS["smooth"]), jnp.zeros(SIZE))
        solution = kp.solve(kp.Wave(LINE, 1.0), state, t)
        return solution.value.displacement, solution.stats.applications

    counts = {t: int(solve(jnp.asarray(t))[1]) for t in (0.0, 1.0, 10.0, 100.0)}
    assert len(traced) == 1
    assert counts[0.0] <= 4
    # R/2 = t / h, and a little more.
    assert 40 <= counts[1.0] <= 120
    assert 4000 <= counts[100.0] <= 4300


def test_what_chebyshev_cannot_serve_is_told():
    vector = jnp.ones(3)
    matrix = lx.MatrixLinearOperator(jnp.eye(3))
    with pytest.raises(ValueError, match="tagged self-adjoint"):
        kp.expm_multiply(matrix, vector, 1.0, method=kp.Chebyshev())
    function = lx.FunctionLinearOperator(lambda x: -x, jax.ShapeDtypeStruct((3,), jnp.float64))
    unknown = kp.annotate(function, tags=kp.self_adjoint_tag)
    with pytest.raises(ValueError, match="spectral_bound"):
        kp.expm_multiply(unknown, vector, 1.0, method=kp.Chebyshev())
    with pytest.raises(ValueError, match="max_degree"):
        kp.Chebyshev(max_degree=2)
    bounded = kp.annotate(unknown, spectral_bound=1.0)
    with pytest.raises(ValueError, match=r"TwoSidedAdjoint.*ReversibleAdjoint"):
        kp.expm_multiply(bounded, vector, 1.0, method=kp.Chebyshev(), adjoint=kp.TwoSidedAdjoint())
