"""Equal solutions with Exponax' steppers, which share nothing with ours but the spatial operator."""

import jax.numpy as jnp
import numpy as np
import pytest

import krylovpde as kp
from examples import against_exponax

pytestmark = pytest.mark.standard_promotion

# Kuramoto and Sivashinsky's equation has begun to amplify differences at its end.
LIMITS = {"Burgers": 1e-5, "Allen-Cahn": 1e-5, "Kuramoto-Sivashinsky": 1e-4}
EACH = [name if name == "Burgers" else pytest.param(name, marks=pytest.mark.slow) for name in LIMITS]


@pytest.mark.parametrize("name", EACH)
def test_equal_solutions(name):
    """To ten times the tolerance; at 64 points, where the filters matter."""
    case = against_exponax.cases(64)[name]
    theirs = against_exponax.by_exponax(case, 2048)
    ours = against_exponax.by_krylovpde(case, 1e-6)
    assert against_exponax.error(ours, theirs) < LIMITS[name]


def test_the_operator_is_theirs(key):
    """Exponax' factor of a step is the exponential of our symbol, and the interval holds it."""
    case = against_exponax.cases(64)["Kuramoto-Sivashinsky"]
    operator = case.equation.operator()
    assert isinstance(operator, against_exponax.FourierOperator)
    theirs = np.asarray(case.stepper(0.1)._integrator._exp_term)[0].real
    np.testing.assert_allclose(jnp.exp(0.1 * operator.symbol), theirs, rtol=1e-12)
    report = kp.verify.structure_test(operator, key=key)
    assert report.passed, report
