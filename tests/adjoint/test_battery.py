"""One battery for the derivative rules of the two-sided adjoint, rough data: against the dense exponential."""

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

import krylovpde as kp
from tests.helpers import random_like, relative_error, variants

from .problems import OPERATORS, SIZE, TIMES, cotangent, general, objective, point

RTOL = 1e-9  # so tight that what is left is a matter of the rules, not of the tolerance
CLOSE = 1e-7

every_operator = pytest.mark.parametrize("name", variants(OPERATORS, quick=["general"]))


def reference(name):
    return objective(name, method=kp.Dense())


@every_operator
def test_gradient_is_that_of_the_dense_exponential(name):
    arguments = point(name)
    value, result = jax.jit(jax.value_and_grad(objective(name, rtol=RTOL)))(arguments)
    expected_value, expected = jax.jit(jax.value_and_grad(reference(name)))(arguments)
    assert abs(value - expected_value) <= 1e-8 * abs(expected_value)
    # Parameter, vector and durations each by itself, so that none hides behind another.
    for mine, theirs in zip(result, expected, strict=True):
        assert mine.dtype == theirs.dtype
        assert relative_error(mine, theirs) < CLOSE
    # If every bit agreed, the rule would not have run.
    assert relative_error(result, expected) > 0.0


@pytest.mark.parametrize(
    "name", ["general", *(pytest.param(name, marks=pytest.mark.slow) for name in ("weighted", "skew hermitian"))]
)
def test_forward_mode_is_that_of_the_dense_exponential(name, key):
    arguments = point(name)
    directions = random_like(key, arguments)

    def output(function_options, arguments):
        p, v, t = arguments
        return kp.expm_multiply(OPERATORS[name](p), v, t, **function_options).value

    mine = jax.jit(lambda a, d: jax.jvp(lambda a: output({"rtol": RTOL}, a), (a,), (d,)))(arguments, directions)
    theirs = jax.jvp(lambda a: output({"method": kp.Dense()}, a), (arguments,), (directions,))
    assert relative_error(mine[0], theirs[0]) < CLOSE
    assert relative_error(mine[1], theirs[1]) < CLOSE


@pytest.mark.parametrize("i", [0, *(pytest.param(i, marks=pytest.mark.slow) for i in (1, 2))])
def test_each_argument_alone_in_both_modes(i, key):
    # Symbolic zeros take other branches of the rules than tangents that are there.
    function, arguments = objective("general", rtol=RTOL), point("general")
    dense = jax.grad(reference("general"))(arguments)[i]
    direction = random_like(key, arguments)[i]

    def alone(x):
        return function((*arguments[:i], x, *arguments[i + 1 :]))

    assert relative_error(jax.jit(jax.grad(alone))(arguments[i]), dense) < CLOSE
    slope = jax.jit(lambda x, d: jax.jvp(alone, (x,), (d,))[1])(arguments[i], direction)
    assert abs(slope - jnp.vdot(dense, direction)) <= CLOSE * float(jnp.linalg.norm(dense) * jnp.linalg.norm(direction))


@pytest.mark.slow
def test_linearize_and_its_transpose(key):
    function, arguments = objective("general", rtol=RTOL), point("general")
    direction = random_like(key, arguments)
    value, linear = jax.linearize(function, arguments)
    dense = jax.grad(reference("general"))(arguments)
    expected = sum(float(jnp.vdot(a, b)) for a, b in zip(dense, direction, strict=True))
    assert abs(float(value) - float(reference("general")(arguments))) < 1e-7
    assert abs(float(linear(direction)) - expected) <= 1e-7 * abs(expected)
    (transposed,) = jax.linear_transpose(linear, arguments)(jnp.ones(()))
    assert relative_error(transposed, dense) < CLOSE


def hessian_product(mode, function):
    """`H d` by a composition of two derivatives."""
    gradient = jax.grad(function)

    def forward_over_reverse(x, d):
        return jax.jvp(gradient, (x,), (d,))[1]

    def reverse_over_forward(x, d):
        return jax.grad(lambda x: jax.jvp(function, (x,), (d,))[1])(x)

    def reverse_over_reverse(x, d):
        def along(x):
            parts = zip(jax.tree.leaves(gradient(x)), jax.tree.leaves(d), strict=True)
            return sum(jnp.sum(a * b) for a, b in parts)

        return jax.grad(along)(x)

    products = {
        "jvp of grad": forward_over_reverse,
        "grad of jvp": reverse_over_forward,
        "grad of grad": reverse_over_reverse,
    }
    return products[mode]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["jvp of grad", "grad of jvp", "grad of grad"])
def test_second_derivatives_and_a_batch_of_them(mode, key):
    arguments = point("general")
    directions = jax.vmap(lambda k: random_like(k, arguments))(jax.random.split(key, 2))

    def batch(function):
        return jax.jit(jax.vmap(hessian_product(mode, function), in_axes=(None, 0)))(arguments, directions)

    mine, theirs = batch(objective("general", rtol=RTOL)), batch(reference("general"))
    for one, other in zip(mine, theirs, strict=True):
        assert relative_error(one, other) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("name", ["general", "weighted", "skew hermitian"])
def test_second_derivatives(name, key):
    p, v, t = point(name)
    direction = random_like(key, p)

    def product(function):
        return jax.jit(hessian_product("jvp of grad", lambda p: function((p, v, t))))(p, direction)

    assert relative_error(product(objective(name, rtol=RTOL)), product(reference(name))) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("name", ["self-adjoint", "general"])
def test_a_batch_of_gradients_equals_a_loop(name):
    p, v, t = point(name)
    batch = (jnp.stack([p, 0.3 * p, 2.0 * p]), jnp.stack([v, 0.0 * v, v[::-1]]), jnp.stack([t, 3.0 * t, 0.0 * t]))
    gradient = jax.grad(objective(name, rtol=RTOL))
    mine = jax.jit(jax.vmap(gradient))(batch)
    dense = jax.jit(jax.vmap(jax.grad(reference(name))))(batch)
    for one, other in zip(mine, dense, strict=True):
        for row, expected in zip(one, other, strict=True):
            assert relative_error(row, expected) < CLOSE or float(jnp.linalg.norm(row - expected)) < 1e-12


@pytest.mark.slow
def test_sources_have_gradients():
    p, v, t = point("general")

    def function(options, vectors):
        value = kp.phi_multiply(general(p), vectors, t, **options).value
        return jnp.sum(cotangent(v) * value)

    vectors = (v, v[::-1], v**2)
    mine = jax.jit(jax.grad(lambda x: function({"rtol": RTOL}, x)))(vectors)
    theirs = jax.grad(lambda x: function({"method": kp.Dense()}, x))(vectors)
    for one, other in zip(mine, theirs, strict=True):
        assert relative_error(one, other) < CLOSE


@pytest.mark.slow
def test_many_steps_backwards_and_spaces_that_are_built_again():
    # Dimension 8 and more steps than spaces are kept: the backward march builds the others again.
    arguments = point("general")
    arguments = (arguments[0], arguments[1], jnp.asarray([0.7, 0.0, 1.4, -0.1, 1.4]))
    weights = jnp.asarray(np.random.default_rng(14).standard_normal((5, SIZE)))

    def function(options, arguments):
        p, v, t = arguments
        return jnp.sum(weights * kp.expm_multiply(general(p), v, t, **options).value)

    options = {"rtol": 1e-8, "method": kp.Arnoldi(max_dimension=8), "max_steps": 200}
    solution = kp.expm_multiply(general(arguments[0]), *arguments[1:], **options)
    assert int(solution.stats.num_steps) > 17
    mine = jax.jit(jax.grad(lambda a: function(options, a)))(arguments)
    theirs = jax.grad(lambda a: function({"method": kp.Dense()}, a))(arguments)
    for one, other in zip(mine, theirs, strict=True):
        assert relative_error(one, other) < 1e-6


DEGENERATE = {
    "zero vector": (jnp.ones(SIZE), jnp.zeros(SIZE), TIMES),
    "neumann constant": (jnp.ones(SIZE), jnp.ones(SIZE), TIMES),
    "zero operator": (jnp.zeros(SIZE), jnp.arange(1.0, SIZE + 1), TIMES),
    "zero time": (jnp.ones(SIZE), jnp.arange(1.0, SIZE + 1), jnp.zeros(2)),
    "repeated time": (jnp.ones(SIZE), jnp.arange(1.0, SIZE + 1), jnp.asarray([0.2, 0.2])),
    "eigenvector": (jnp.ones(SIZE), jnp.asarray(np.cos(np.pi * 3 * (np.arange(SIZE) + 0.5) / SIZE)), TIMES),
    "two signs": (jnp.ones(SIZE), jnp.arange(1.0, SIZE + 1), jnp.asarray([-0.03, 0.1])),
}


def diffusion(p, options, v, t):
    def apply(x):
        return 20.0 * jnp.diff(jnp.pad(p[1:] * jnp.diff(x), 1)) + 0.0 * p * x

    operator = lx.FunctionLinearOperator(apply, jax.ShapeDtypeStruct((SIZE,), p.dtype))
    if options.get("method") != kp.Arnoldi():
        operator = kp.annotate(operator, tags=kp.self_adjoint_tag)
    value = kp.expm_multiply(operator, v, t, **options).value
    return jnp.sum(cotangent(v) * value), value


_DEGENERATE_PROGRAMS = {
    name: jax.jit(jax.grad(lambda a, o=options: diffusion(a[0], o, a[1], a[2]), has_aux=True))
    for name, options in {
        "lanczos": {"rtol": RTOL},
        "arnoldi": {"rtol": RTOL, "method": kp.Arnoldi()},
        "dense": {"method": kp.Dense()},
    }.items()
}


@pytest.mark.parametrize("method", ["lanczos", pytest.param("arnoldi", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", list(DEGENERATE))
def test_degenerate_cases_have_right_values_and_gradients(name, method):
    arguments = DEGENERATE[name]
    gradient, value = _DEGENERATE_PROGRAMS[method](arguments)
    expected, expected_value = _DEGENERATE_PROGRAMS["dense"](arguments)
    assert jnp.allclose(value, expected_value, rtol=1e-8, atol=1e-10)
    for mine, theirs in zip(gradient, expected, strict=True):
        scale = 1.0 + float(jnp.linalg.norm(theirs))
        assert float(jnp.linalg.norm(mine - theirs)) <= CLOSE * scale
    if name == "zero vector":
        # Else every inversion for an initial state that starts from zero would stall.
        assert float(jnp.linalg.norm(gradient[1])) > 0.1
        assert float(jnp.linalg.norm(gradient[0])) == 0.0


@pytest.mark.slow
def test_one_unknown():
    def function(a):
        rate, v, t = a
        operator = lx.FunctionLinearOperator(lambda x: rate * x, jax.ShapeDtypeStruct((1,), jnp.float64))
        return jnp.sum(kp.expm_multiply(operator, v, t).value)

    gradient = jax.grad(function)((jnp.asarray(-2.0), jnp.asarray([3.0]), jnp.asarray(0.7)))
    decay = np.exp(-1.4)
    for mine, theirs in zip(gradient, (0.7 * 3 * decay, decay, -2 * 3 * decay), strict=True):
        assert np.allclose(mine, theirs, rtol=1e-12)
