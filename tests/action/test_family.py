"""The functions of numbers and of small matrices, against exact integer arithmetic and SciPy's dense exponential."""

import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from krylovpde.action._expm import expm
from krylovpde.action._family import matrix_family, scalar_family
from krylovpde.action._pairing import matrix_pairing
from tests.helpers import rounding, variants

every_order = pytest.mark.parametrize("order", [1, 2])
HIGHEST = 4


def exact(order, level, t, z):
    """`Σ_j t^(l+qj) zʲ / (l+qj)!` summed in integers with 2000 binary places: no rounding that a double could see."""
    places = 2000
    t = Fraction(float(t))
    real, imaginary = Fraction(float(np.real(z))), Fraction(float(np.imag(z)))
    x, y = (int(part * t**order * 2**places) for part in (real, imaginary))
    a, b = int(t**level * 2**places / math.factorial(level)), 0
    total, other, power = 0, 0, level
    while a or b:
        total, other = total + a, other + b
        divisor = 1
        for _ in range(order):
            power += 1
            divisor *= power
        a, b = ((a * x - b * y) >> places) // divisor, ((a * y + b * x) >> places) // divisor
        if abs(a) < 2**100 and abs(b) < 2**100 and power > level + 4:
            break
    return complex(Fraction(total, 2**places), Fraction(other, 2**places))


@every_order
@pytest.mark.parametrize("kind", variants(["real", "complex"], quick=["complex"]))
def test_scalar_family_is_its_series(order, kind):
    sizes = np.array([0.0, 1e-12, 1e-5, 0.3, 1.999, 2.001, 7.0, 60.0, 300.0])
    z = np.concatenate([-sizes, sizes[:-1]]) if kind == "real" else sizes * np.exp(1j * np.linspace(0.0, 6.0, 9))
    for t in (0.5, -1.0):
        values = np.asarray(scalar_family(order, 0, HIGHEST, jnp.asarray(t), jnp.asarray(z)))
        for level in range(HIGHEST + 1):
            for value, number in zip(values[level], z, strict=True):
                reference = exact(order, level, t, number)
                # Rounding of the argument moves the function by its size times |x|; the natural size is t^l/l!.
                reach = abs(number * t**order) ** (1 / order)
                size = max(abs(reference), abs(t) ** level / math.factorial(level))
                assert abs(value - reference) <= 1e-15 * (20 + 2 * reach) * size


@every_order
def test_scalar_family_below_level_zero_and_its_recurrence(order):
    z, t = jnp.asarray([-40.0, -1.0, 0.0, 0.5]), jnp.asarray(0.7)
    table = scalar_family(order, -order, 2 * order - 1, t, z)
    for level in range(order):
        # F_l = t^l / l! + z F_(l+q), and F_(-r) = z F_(q-r).
        expected = t**level / math.factorial(level) + z * table[2 * order + level]
        assert jnp.allclose(table[order + level], expected, rtol=1e-13, atol=1e-14)
    for r in range(1, order + 1):
        assert jnp.array_equal(table[order - r], z * table[2 * order - r])


def test_scalar_family_does_not_overflow_where_the_function_does_not():
    # The branch of growth is not taken at -1e6, whose hyperbolic cosine would be infinite.
    for order in (1, 2):
        values = scalar_family(order, 0, 3, jnp.asarray(1.0, jnp.float32), jnp.asarray([-1e6], jnp.float32))
        assert values.dtype == jnp.float32
        assert bool(jnp.all(jnp.isfinite(values)))


def companion(order, matrix, num_sources):
    """The first-order form in plain units, sources entering along `e_1`: SciPy exponentiates it."""
    size = matrix.shape[0]
    total = order * size + num_sources
    generator = np.zeros((total, total), matrix.dtype)
    for component in range(order - 1):
        rows = slice(component * size, (component + 1) * size)
        generator[rows, (component + 1) * size : (component + 2) * size] = np.eye(size)
    last = (order - 1) * size
    generator[last : last + size, :size] = matrix
    for source in range(num_sources):
        generator[last if source == 0 else order * size + source - 1, order * size + source] = 1.0
    return generator


@every_order
@pytest.mark.parametrize("size", [1.0, 300.0])
@pytest.mark.parametrize("kind", ["real", "complex"])
def test_matrix_family_is_the_dense_exponential(order, size, kind):
    rng = np.random.default_rng(1)
    matrix = rng.standard_normal((5, 5)) + (1j * rng.standard_normal((5, 5)) if kind == "complex" else 0)
    # Field of values in the left half plane, so that a large matrix decays or oscillates and does not overflow.
    matrix = size * (matrix - 3.0 * np.eye(5)) if order == 1 else size * -(matrix @ matrix.conj().T)
    highest = order + 2
    generator = companion(order, matrix, highest - order + 1)
    for t in (0.6, -0.02, 0.0):
        table, growth = matrix_family(order, -order, highest, jnp.asarray(t), jnp.asarray(matrix))
        dense = scipy.linalg.expm(t * generator)
        for level in range(highest + 1):
            column = level * 5 if level < order else order * 5 + level - order
            reference = dense[:5, column]
            scale = np.linalg.norm(dense[:5], 2)
            assert np.linalg.norm(table[order + level] - reference) <= 1e-12 * max(size, 1.0) * scale
        for r in range(1, order + 1):
            assert jnp.allclose(table[order - r], matrix @ np.asarray(table[2 * order - r]))
        assert growth >= 0.999 * max(1.0, np.linalg.norm(dense[:5, :5], 2))


@pytest.mark.parametrize("name", ["random", "stiff", "nilpotent", "zero", "complex"])
def test_expm_and_its_growth(name):
    rng = np.random.default_rng(2)
    matrix = {
        "random": 3 * rng.standard_normal((8, 8)),
        "stiff": -1e5 * np.diag(np.arange(8.0)) + rng.standard_normal((8, 8)),
        "nilpotent": 100.0 * np.diag(np.ones(7), 1),
        "zero": np.zeros((8, 8)),
        "complex": 1j * 50.0 * rng.standard_normal((8, 8)) - 200.0 * np.eye(8),
    }[name]
    value, growth = expm(jnp.asarray(matrix))
    reference = scipy.linalg.expm(matrix)
    humps = [np.linalg.norm(scipy.linalg.expm(matrix / 2.0**k), 2) for k in range(20)]
    assert np.linalg.norm(value - reference) <= 1e-11 * max(np.linalg.norm(reference), 1.0)
    assert growth >= 0.999 * max(humps)
    assert growth >= 1.0


def test_growth_is_that_of_the_leading_block():
    matrix = jnp.diag(jnp.asarray([-1.0, -2.0, 5.0]))
    assert expm(matrix, block=2)[1] == 1.0
    assert expm(matrix)[1] >= math.exp(5.0) * (1 - 1e-12)


# That of order one is in every gradient of the adjoints' battery.
@pytest.mark.parametrize("order", variants([1, 2], quick=[2]))
def test_pairing_is_its_integral(order):
    # Gauss-Legendre with 60 nodes on dense exponentials, an integral that shares nothing with Van Loan's block.
    rng = np.random.default_rng(3)
    left, right = rng.standard_normal((4, 4)) - 2 * np.eye(4), rng.standard_normal((6, 6)) - 2 * np.eye(6)
    offset, span = 0.3, -0.8
    nodes, weights = np.polynomial.legendre.leggauss(60)

    def column(matrix, level, t):
        generator = companion(order, matrix, max(level - order + 1, 0))
        size = matrix.shape[0]
        start = level * size if level < order else order * size + level - order
        return scipy.linalg.expm(t * generator)[:size, start]

    for level_dual in range(order):
        for level in range(order + 2):
            reference = sum(
                span * w / 2 * np.outer(column(left, level_dual, span - s), column(right, level, offset + s))
                for s, w in zip(span * (nodes + 1) / 2, weights, strict=True)
            )
            arguments = (jnp.asarray(x) for x in (offset, span, left, right))
            value = matrix_pairing(order, level_dual, level, *arguments)
            assert np.linalg.norm(value - reference) <= 1e-12 * max(np.linalg.norm(reference), 1e-3)


def test_families_keep_single_precision():
    matrix = -jnp.eye(3, dtype=jnp.float32)
    table, growth = jax.jit(matrix_family, static_argnums=(0, 1, 2))(2, -1, 3, jnp.asarray(0.5, jnp.float32), matrix)
    assert table.dtype == growth.dtype == jnp.float32
    assert abs(float(table[1, 0]) - math.cos(0.5)) <= rounding(np.float32)
