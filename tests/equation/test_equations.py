"""What the single equations promise: scaling, weights, sources, boundaries, refusals."""

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest
import scipy.sparse as sp
from scipy.linalg import expm

from krylovpde import solve
from krylovpde.equation import AbstractEquation, AdvectionDiffusion, Diffusion, Linear, Wave, WaveState
from krylovpde.grid import Boundary, Dirichlet, Grid, Neumann, Periodic, RadialGrid, Robin, TotalFlux
from krylovpde.operator import AbstractOperator, Laplacian, SparseOperator, Upwind, is_self_adjoint, weight

GRID = Grid((4, 3), (0.0, 0.0), (1.0, 1.0))
LINE = Grid(6, 0.0, 1.0)


def _random(shape, seed=0):
    return jnp.asarray(0.5 + np.random.default_rng(seed).random(shape))


# ---- diffusion


def test_nothing_to_force_is_none_by_construction():
    assert Diffusion(GRID, 1.0).forcing() is None
    assert Diffusion(GRID, 1.0, boundary=(Dirichlet(), Periodic())).forcing() is None
    assert Wave(GRID, 1.0).forcing() is None
    assert Diffusion(GRID, 1.0, boundary=Dirichlet(0.0)).forcing() is not None  # a parameter that happens to be zero
    assert Diffusion(GRID, 1.0, source=0.0).forcing().shape == GRID.shape


def test_capacity_divides_everything_and_weighs_the_inner_product():
    kappa, capacity, rate, source = (_random(GRID.shape, seed) for seed in range(4))
    bare = Diffusion(GRID, kappa, reaction_rate=rate, source=source, boundary=Dirichlet(2.0))
    full = Diffusion(GRID, kappa, reaction_rate=rate, source=source, boundary=Dirichlet(2.0), capacity=capacity)
    u = _random(GRID.shape, 9)
    np.testing.assert_allclose(full.vector_field(0.0, u), bare.vector_field(0.0, u) / capacity, rtol=1e-12)
    np.testing.assert_allclose(weight(full.operator()), GRID.cell_volumes * capacity, rtol=1e-14)
    assert isinstance(weight(bare.operator()), np.ndarray)


def test_reaction_and_source():
    equation = Diffusion(LINE, 1.0, reaction_rate=-2.0, source=3.0)
    np.testing.assert_allclose(equation.vector_field(0.0, jnp.full(6, 5.0)), -2.0 * 5.0 + 3.0)


def test_neumann_flux_fills_the_domain():
    """`Σ V du/dt` = flux × perimeter, for capacity 1."""
    equation = Diffusion(GRID, _random(GRID.shape), boundary=Neumann(0.7))
    assert GRID.integrate(equation.vector_field(0.0, jnp.zeros(GRID.shape))) == pytest.approx(4 * 0.7)
    total = Diffusion(GRID, _random(GRID.shape), boundary=TotalFlux(0.7))  # the same where nothing is carried
    np.testing.assert_allclose(total.forcing(), equation.forcing())


def test_a_cylinder_is_filled_through_its_wall():
    grid = RadialGrid(np.linspace(0.0, 2.0, 9))
    equation = Diffusion(grid, 1.0, boundary=Boundary(lower=Neumann(55.0), upper=Neumann(0.3)))
    # The inner face has no area: whatever enters, enters through the outer one.
    assert grid.integrate(equation.vector_field(0.0, jnp.zeros(8))) == pytest.approx(2 * np.pi * 2.0 * 0.3)


def test_robin_is_between_dirichlet_and_neumann():
    u = _random((6,))
    dirichlet = Diffusion(LINE, 2.0, boundary=Dirichlet(3.0)).vector_field(0.0, u)
    neumann = Diffusion(LINE, 2.0, boundary=Neumann(3.0)).vector_field(0.0, u)
    np.testing.assert_allclose(Diffusion(LINE, 2.0, boundary=Robin(1.0, 0.0, 3.0)).vector_field(0.0, u), dirichlet)
    np.testing.assert_allclose(Diffusion(LINE, 2.0, boundary=Robin(0.0, 1.0, 3.0)).vector_field(0.0, u), neumann)


def test_discrete_decay_of_a_cosine_converges_to_the_exact_one():
    errors = []
    for n in (8, 16, 32):
        grid = Grid(n, 0.0, 1.0)
        u = np.cos(np.pi * grid.coordinates[0])
        matrix = np.asarray(Diffusion(grid, 0.3).operator().as_matrix())
        errors.append(np.abs(expm(matrix) @ u - np.exp(-0.3 * np.pi**2) * u).max())
    assert np.polyfit(np.log([8, 16, 32]), np.log(errors), 1)[0] == pytest.approx(-2.0, abs=0.1)


def test_mixed_precisions_take_the_widest_and_ignore_python_numbers():
    kappa = jnp.ones(GRID.shape, jnp.float32)
    assert Diffusion(GRID, kappa, capacity=2.0, source=1.0).operator().in_structure().dtype == jnp.float32
    equation = Diffusion(GRID, kappa, capacity=np.ones(GRID.shape))  # a float64 array beside a float32 one
    assert equation.operator().in_structure().dtype == jnp.float64
    assert equation.vector_field(0.0, jnp.ones(GRID.shape, jnp.float32)).dtype == jnp.float32


def test_complex_states():
    equation = AdvectionDiffusion(LINE, 0.5, 1.0, boundary=Dirichlet(1.0))
    u, v = _random((6,), 0), _random((6,), 1)
    rate = equation.vector_field(0.0, jax.lax.complex(u, v))
    np.testing.assert_allclose(rate.real, equation.vector_field(0.0, u), rtol=1e-12)
    np.testing.assert_allclose(rate.imag, equation.operator().mv(v), rtol=1e-12)


# ---- advection


def test_a_column_fed_at_the_inlet_has_its_steady_profile():
    """`v u' = D u''`, u(0) = 1, u(1) = 0."""
    v, d, n = 2.0, 0.5, 200
    grid = Grid(n, 0.0, 1.0)
    equation = AdvectionDiffusion(grid, d, v, boundary=Boundary(lower=Dirichlet(1.0), upper=Dirichlet(0.0)))
    u = np.linalg.solve(equation.operator().as_matrix(), -equation.forcing())
    x = grid.coordinates[0]
    exact = (np.exp(v / d) - np.exp(v * x / d)) / (np.exp(v / d) - 1)
    np.testing.assert_allclose(u, exact, atol=2e-4)


def test_a_velocity_may_be_bare_on_a_line():
    bare, boxed = AdvectionDiffusion(LINE, 1.0, 0.5), AdvectionDiffusion(LINE, 1.0, (0.5,))
    np.testing.assert_array_equal(bare.operator().mv(jnp.arange(6.0)), boxed.operator().mv(jnp.arange(6.0)))


def test_a_poor_cell_peclet_number_is_told_when_known():
    with pytest.warns(UserWarning, match=r"cell Péclet number .* reaches 16.7"):
        AdvectionDiffusion(LINE, 0.01, 1.0)
    AdvectionDiffusion(LINE, 0.01, 1.0, scheme=Upwind(3))  # no warning
    AdvectionDiffusion(LINE, 0.1, 1.0)
    jax.jit(lambda v: AdvectionDiffusion(LINE, 0.01, v).operator().mv(jnp.ones(6)))(1.0)  # not known


def test_a_closed_box_keeps_its_content():
    equation = AdvectionDiffusion(
        GRID, 0.3, (_random(GRID.shape), -_random(GRID.shape, 1)), scheme=Upwind(1), boundary=TotalFlux()
    )
    assert equation.forcing() is None
    rate = equation.vector_field(0.0, _random(GRID.shape, 2))
    assert abs(float(GRID.integrate(rate))) < 1e-14 * float(GRID.integrate(jnp.abs(rate)))


# ---- waves


def test_wave_operator_and_weight():
    speed = _random(GRID.shape)
    operator = Wave(GRID, speed, boundary=Dirichlet()).operator()
    u = _random(GRID.shape, 5)
    np.testing.assert_allclose(operator.mv(u), speed**2 * Laplacian(GRID, Dirichlet()).mv(u), rtol=1e-12)
    np.testing.assert_allclose(weight(operator), GRID.cell_volumes / speed**2, rtol=1e-14)
    assert Wave.order == 2


def test_wave_boundary_values_are_accelerations():
    """`u = 2` everywhere is the steady state of walls held at 2; the source adds as it is."""
    equation = Wave(GRID, _random(GRID.shape), boundary=Dirichlet(2.0), source=0.25)
    rate = equation.vector_field(0.0, WaveState(jnp.full(GRID.shape, 2.0), jnp.ones(GRID.shape)))
    np.testing.assert_allclose(rate.displacement, 1.0)
    np.testing.assert_allclose(rate.velocity, 0.25, atol=1e-11)


def test_first_order_operator_is_the_wave_as_a_system():
    equation = Wave(LINE, _random((6,)), boundary=Dirichlet())
    operator = equation.first_order_operator()
    state = WaveState(_random((6,), 1), _random((6,), 2))
    assert eqx.tree_equal(operator.mv(state), equation.vector_field(0.0, state), rtol=1e-13)
    values = np.linalg.eigvals(operator.as_matrix())
    np.testing.assert_allclose(values.real, 0.0, atol=1e-9)  # nothing grows
    assert np.abs(values).max() <= operator.spectral_bound
    np.testing.assert_allclose(operator.T.as_matrix(), operator.as_matrix().T, rtol=1e-12)


# ---- linear, and equations of a user


def test_linear_takes_any_operator():
    matrix = sp.random(5, 5, 0.5, random_state=0)
    for operator in (SparseOperator.from_scipy(matrix), lx.MatrixLinearOperator(jnp.asarray(matrix.toarray()))):
        equation = Linear(operator, source=jnp.arange(5.0))
        assert equation.operator() is operator
        np.testing.assert_allclose(equation.vector_field(0.0, jnp.ones(5)), matrix @ np.ones(5) + np.arange(5.0))
    pair = lx.DiagonalLinearOperator((jnp.ones(2), jnp.ones(3)))
    equation = Linear(pair, source=(1.0, jnp.arange(3.0)))
    np.testing.assert_allclose(equation.vector_field(0.0, (jnp.ones(2), jnp.ones(3)))[1], [1.0, 2.0, 3.0])
    forcing = Linear(pair, source=2.0).forcing()
    assert forcing is not None
    np.testing.assert_allclose(forcing[0], [2.0, 2.0])


def test_an_equation_of_a_user():
    class Decay(AbstractEquation):
        rate: jax.Array

        def operator(self):
            return lx.DiagonalLinearOperator(-self.rate)

        def nonlinear(self, t, u):
            return t * u**2

    equation = Decay(jnp.arange(3.0))
    assert equation.order == 1
    assert equation.source is None
    assert equation.forcing() is None
    np.testing.assert_allclose(equation.vector_field(2.0, jnp.ones(3)), [2.0, 1.0, 0.0])
    with pytest.raises(TypeError, match="abstract"):
        AbstractEquation()  # pyright: ignore[reportAbstractUsage]


def test_an_operator_of_a_user():
    class Reverse(AbstractOperator):
        size: int = eqx.field(static=True)
        weight = None
        spectral_bound = None
        tags = frozenset()

        def mv(self, vector):
            return vector[::-1] * jnp.arange(float(self.size))

        def in_structure(self):
            return jax.ShapeDtypeStruct((self.size,), jnp.float64)

        def out_structure(self):
            return self.in_structure()

    operator = Reverse(3)
    np.testing.assert_array_equal(operator.as_matrix(), [[0, 0, 0], [0, 1, 0], [2, 0, 0]])
    np.testing.assert_array_equal(operator.T.as_matrix(), operator.as_matrix().T)
    assert not is_self_adjoint(operator + operator)
    np.testing.assert_array_equal(lx.materialise(2.0 * operator).as_matrix(), 2.0 * operator.as_matrix())


# ---- what a user does wrong

FIELD = np.ones(GRID.shape)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Diffusion((4, 3), 1.0), TypeError, r"`Diffusion\(grid, ...\)` takes a Grid"),
        (lambda: Diffusion(GRID, 0.0), ValueError, r"Diffusion\(diffusivity\)` must be positive.*smallest value is 0"),
        (lambda: Diffusion(GRID, FIELD - 1.5), ValueError, "smallest value is -0.5"),
        (lambda: Diffusion(GRID, np.nan), ValueError, "must be positive"),
        (lambda: Diffusion(GRID, np.ones((3, 4))), ValueError, r"shape \(4, 3\) \(grid.shape\), got shape \(3, 4\)"),
        (lambda: Diffusion(GRID, (1.0,)), ValueError, "has 1 components for a grid with 2 axes"),
        (lambda: Diffusion(GRID, (1.0, -1.0)), ValueError, r"diffusivity\)\[1\]` must be positive"),
        (lambda: Diffusion(GRID, lambda t: t), TypeError, r"diffusivity\)`.*does not vary in time"),
        (lambda: Diffusion(GRID, 1.0, capacity=-1.0), ValueError, r"Diffusion\(capacity\)` must be positive"),
        (lambda: Diffusion(GRID, 1.0, boundary="periodic"), TypeError, "of type str"),
        (lambda: Diffusion(GRID, 1.0, boundary=Boundary(Periodic(), Neumann())), ValueError, "both sides"),
        (lambda: Diffusion(GRID, 1.0, source=lambda t: t), TypeError, r"kp\.Source"),
        (lambda: Diffusion(GRID, 1.0, source=[1.0, "two"]), TypeError, r"source\)\[1\]` must be a number"),
        (lambda: Diffusion(GRID, 1.0, source=np.ones(3)), ValueError, r"Diffusion\(source\)` must be a number or"),
        (lambda: Diffusion(GRID, 1j), ValueError, "real and positive, got dtype complex"),
        (lambda: Diffusion(GRID, 1.0).operator().mv(jnp.ones(12)), ValueError, r"takes a field of shape \(4, 3\)"),
        (
            lambda: AdvectionDiffusion(GRID, 1.0, 1.0),
            ValueError,
            r"velocity\)` must be a tuple.*\(2 of them\)",
        ),
        (lambda: AdvectionDiffusion(GRID, 1.0, (1.0,)), ValueError, "1 components for a grid with 2"),
        (lambda: AdvectionDiffusion(LINE, 1.0, 1.0, scheme="upwind"), TypeError, r"takes Central\(\), Upwind"),
        (lambda: Wave(GRID, -1.0), ValueError, r"Wave\(speed\)` must be positive"),
        (lambda: Wave(GRID, 1.0, density=-0.1), ValueError, r"Wave\(density\)` must be positive"),
        (lambda: Wave(GRID, 1.0, damping=-0.1), ValueError, r"Wave\(damping\)` must not be negative"),
        (lambda: Wave(GRID, 1.0, boundary=TotalFlux()), ValueError, "does not know TotalFlux; it knows Absorbing, Dir"),
        (lambda: Linear(sp.eye(3)), TypeError, r"For a SciPy sparse matrix use SparseOperator.from_scipy"),
        (lambda: Linear(np.eye(3)), TypeError, "takes a lineax linear operator, got ndarray"),
        (lambda: Linear(lx.MatrixLinearOperator(jnp.ones((2, 3)))), ValueError, "needs a square operator"),
        (lambda: Linear(Laplacian(LINE), source=np.ones(5)), ValueError, r"shape \(6,\), got \(5,\)"),
        (lambda: Linear(Laplacian(LINE), source=lambda t: t), TypeError, r"kp\.Source"),
    ],
)
def test_bad_input_is_told(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_jump_of_density_reflects_as_it_should():
    """Normal incidence: the echo of an interface is `(Z₂ - Z₁)/(Z₂ + Z₁)` of the pulse, `Z = density × speed`."""
    grid = Grid((800,), (0.0,), (1.0,))
    (x,) = grid.coordinates
    speed, density = np.where(x < 0.5, 1.0, 1.5), np.where(x < 0.5, 1.0, 2.0)
    pulse = np.exp(-(((x - 0.25) / 0.03) ** 2))
    slope = -2.0 * (x - 0.25) / 0.03**2 * pulse
    equation = Wave(grid, speed, density=density)
    # To the right: u = f(x - t), u_t = -f'.
    state = solve(equation, WaveState(jnp.asarray(pulse), jnp.asarray(-slope)), 0.4).value
    echo = np.asarray(state.displacement)[x < 0.45]
    transmitted = np.asarray(state.displacement)[x > 0.52]
    z1, z2 = 1.0, 3.0
    assert echo.max() == pytest.approx((z2 - z1) / (z2 + z1), rel=0.01)
    assert transmitted.max() == pytest.approx(2.0 * z2 / (z2 + z1), rel=0.01)
