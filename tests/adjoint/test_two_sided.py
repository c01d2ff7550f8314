"""The two-sided adjoint in use: what a user closes over, optimisers, statistics, failures."""

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import optimistix as optx
import pytest

import krylovpde as kp
from tests.helpers import relative_error

from .problems import SIZE, TIMES, cotangent, general, point, self_adjoint

LIKE = jax.ShapeDtypeStruct((SIZE,), jnp.float64)


def nonlinear(p, u):
    """A vector field whose Jacobian at some state is the operator."""
    return 5.0 * jnp.diff(jnp.pad(p[1:] * jnp.diff(u), 1)) - p * u**3


def jacobian(p):
    state = p**2
    return lx.JacobianLinearOperator(lambda u, _: nonlinear(p, u), state)


def summed(p):
    diagonal = lx.DiagonalLinearOperator(-3.0 * p)
    matrix = lx.MatrixLinearOperator(jnp.outer(p, jnp.linspace(-1.0, 1.0, SIZE)))
    return diagonal + 0.5 * matrix - lx.IdentityLinearOperator(LIKE) * p[0]


def composed(p):
    faces = jax.ShapeDtypeStruct((SIZE - 1,), p.dtype)
    left = lx.FunctionLinearOperator(lambda x: jnp.diff(jnp.pad(p[1:] * x, 1)), faces)
    return left @ lx.FunctionLinearOperator(lambda x: 10.0 * jnp.diff(x), LIKE)


def tridiagonal(p):
    return lx.TridiagonalLinearOperator(-20.0 * p, 9.0 * p[1:], 11.0 * p[:-1])


def sparse(p):
    rows = np.concatenate([np.arange(SIZE), np.arange(SIZE - 1)])
    columns = np.concatenate([np.arange(SIZE), np.arange(1, SIZE)])
    return kp.SparseOperator.from_coo(rows, columns, jnp.concatenate([-9.0 * p, 7.0 * p[1:]]), (SIZE, SIZE))


CLOSURES = {"jacobian": jacobian, "sum": summed, "composed": composed, "tridiagonal": tridiagonal, "sparse": sparse}


@pytest.mark.parametrize(
    "name",
    ["sum", *(pytest.param(n, marks=pytest.mark.slow) for n in ("jacobian", "composed", "tridiagonal", "sparse"))],
)
def test_gradients_of_what_operators_are_made_of(name):
    p, v, t = point("general")

    def loss(p, options):
        return jnp.sum(cotangent(v) * kp.expm_multiply(CLOSURES[name](p), v, t, **options).value)

    mine = jax.jit(jax.grad(lambda p: loss(p, {"rtol": 1e-8})))(p)
    reference = jax.grad(lambda p: loss(p, {"method": kp.Dense()}))(p)
    assert relative_error(mine, reference) < 1e-6


@pytest.mark.slow
def test_a_tracer_that_is_closed_over_inside_other_transformations():
    # The operator closes over a tracer of `scan`'s body, of `vmap` and of `grad` at once.
    p, v, _ = point("general")

    def loss(p):
        def body(u, factor):
            return kp.expm_multiply(general(factor * p), u, 0.05, throw=False).value, None

        return jnp.sum(jax.lax.scan(jax.checkpoint(body), v, jnp.asarray([1.0, 0.5, 2.0]))[0] ** 2)

    def reference(p):
        u = v
        for factor in (1.0, 0.5, 2.0):
            u = kp.expm_multiply(general(factor * p), u, 0.05, method=kp.Dense()).value
        return jnp.sum(u**2)

    batch = jnp.stack([p, 0.7 * p])
    mine = jax.jit(jax.vmap(jax.grad(loss)))(batch)
    for row, parameter in zip(mine, batch, strict=True):
        assert relative_error(row, jax.grad(reference)(parameter)) < 1e-5


# ---- optimisers


def residual(log_rate, data):
    """Two unknowns: the speed of the flow and the size of the start."""
    p, v, t = point("general")
    value = kp.expm_multiply(general(jnp.exp(log_rate[0]) * p), log_rate[1] * v, t, throw=False).value
    return value - data


SOLVERS = {
    "levenberg-marquardt": (optx.least_squares, optx.LevenbergMarquardt(rtol=1e-6, atol=1e-6)),
    "gauss-newton": (optx.least_squares, optx.GaussNewton(rtol=1e-6, atol=1e-6)),
    "bfgs": (optx.minimise, optx.BFGS(rtol=1e-6, atol=1e-6)),
}


@pytest.mark.standard_promotion
@pytest.mark.slow
@pytest.mark.parametrize("name", ["levenberg-marquardt", "bfgs", "gauss-newton"])
def test_optimistix_runs_through_it(name):
    truth = jnp.asarray([0.3, 1.5])
    data = residual(truth, 0.0)
    run, solver = SOLVERS[name]
    function = residual if run is optx.least_squares else (lambda y, data: 0.5 * jnp.sum(residual(y, data) ** 2))
    # Full Gauss–Newton steps from afar overshoot, with exact derivatives as well.
    start = jnp.asarray([0.2, 1.3] if name == "gauss-newton" else [0.0, 1.0])
    solution = eqx.filter_jit(run)(function, solver, start, args=data, max_steps=60)
    assert relative_error(solution.value, truth) < 1e-3


# ---- statistics


@pytest.mark.slow
@pytest.mark.parametrize(
    ("operator", "several"),
    [
        pytest.param(self_adjoint, True, id="lanczos, times"),
        pytest.param(general, False, id="arnoldi, one time"),
        pytest.param(self_adjoint, False, id="lanczos, one time"),
        pytest.param(general, True, id="arnoldi, times"),
    ],
)
def test_pullback_is_the_vjp_with_its_statistics(operator, several):
    p, v, t = point("general")
    t = t if several else t[0]
    g = cotangent(v) if several else cotangent(v)[0]
    solution = kp.pullback(operator(p), v, t, g)

    def forward(arrays, v, t):
        rest = eqx.partition(operator(p), eqx.is_inexact_array)[1]
        return kp.expm_multiply(eqx.combine(arrays, rest), v, t).value

    arrays = eqx.filter(operator(p), eqx.is_inexact_array)
    pulled = jax.jit(lambda a, v, t, g: jax.vjp(forward, a, v, t)[1](g))(arrays, v, t, g)
    for mine, theirs in zip(solution.value, pulled, strict=True):
        for one, other in zip(jax.tree.leaves(mine), jax.tree.leaves(theirs), strict=True):
            assert one.shape == other.shape
            assert relative_error(one, other) < 1e-6 or float(jnp.max(jnp.abs(one - other))) < 1e-10
    stats = solution.stats
    assert bool(solution.successful)
    assert 1 <= int(stats.applications) <= 2 * 2 * SIZE
    assert 1 <= int(stats.transpose_applications) <= 3 * SIZE
    assert 1 <= int(stats.parameter_vjps) <= 3 * SIZE
    assert 1 <= int(stats.krylov_dimension) <= SIZE
    assert float(stats.error_estimate) <= 1e-6
    assert (stats.method, stats.adjoint) == ("Lanczos" if operator is self_adjoint else "Arnoldi", "TwoSidedAdjoint")


# ---- tolerance and failure


@pytest.mark.slow
def test_a_state_of_any_size():
    p, v, _ = point("general")

    def gradient(factor):
        def loss(p):
            return jnp.sum(cotangent(v) * kp.expm_multiply(general(p), factor * v, TIMES).value) / factor

        return jax.jit(jax.grad(loss))(p)

    plain = gradient(1.0)
    for factor in (1e-30, 1e30):
        assert relative_error(gradient(factor), plain) < 1e-6


def failing(throw):
    def loss(a):
        p, v = a
        # The value is within reach of one step; the cotangent's space, which sees the rest of the spectrum, is not.
        solution = kp.expm_multiply(
            general(p), v, jnp.asarray([0.0, 0.9]), method=kp.Arnoldi(max_dimension=3), max_steps=2, throw=throw
        )
        return jnp.sum(cotangent(v) * solution.value)

    return loss


def test_a_failing_pass_raises_or_gives_nan():
    p, v, _ = point("general")
    with pytest.raises(Exception, match="max_steps"):
        jax.block_until_ready(jax.jit(jax.grad(failing(True)))((p, v)))
    gradient = jax.jit(jax.grad(failing(False)))((p, v))
    assert all(bool(jnp.all(jnp.isnan(leaf))) for leaf in gradient)


def test_a_nonfinite_cotangent_is_told():
    p, v, t = point("general")
    g = cotangent(v).at[0, 0].set(jnp.nan)
    solution = kp.pullback(general(p), v, t, g, throw=False)
    assert solution.result == kp.RESULTS.nonfinite
    assert all(bool(jnp.all(jnp.isnan(leaf))) for leaf in jax.tree.leaves(solution.value[:2]))


@pytest.mark.bad_input
def test_bad_input_is_told():
    p, v, t = point("general")
    with pytest.raises(ValueError, match=r"`cotangent`.*\(2, 12\).*\(12,\)"):
        kp.pullback(general(p), v, t, v)
    with pytest.raises(ValueError, match="TwoSidedAdjoint"):
        kp.pullback(general(p), v, t, cotangent(v), adjoint=kp.IterationAdjoint())
    with pytest.raises(ValueError, match="num_steps"):
        kp.expm_multiply(general(p), v, t, adjoint=kp.IterationAdjoint(num_steps=0))
