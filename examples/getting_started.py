"""The tutorial of the documentation: from an equation to a fitted coefficient, in small steps."""

# --8<-- [start:solve]
import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import optax

import krylovpde as kp

jax.config.update("jax_enable_x64", True)  # double precision; without it everything works in single precision

grid = kp.Grid(shape=(64,), lower=(0.0,), upper=(1.0,))
(x,) = grid.coordinates
truth = jnp.where(x < 0.5, 1.0, 0.3)
initial = jnp.exp(-(((x - 0.3) / 0.1) ** 2))

solution = kp.solve(kp.Diffusion(grid, truth), initial, times=0.02)
print(solution.value.shape, solution.result == kp.RESULTS.successful)
# --8<-- [end:solve]

# --8<-- [start:stats]
print(solution.stats.applications, solution.stats.krylov_dimension, solution.stats.error_estimate)
# --8<-- [end:stats]

# --8<-- [start:observe]
sensors = kp.Sensors(grid, [[0.2], [0.5], [0.8]])
times = jnp.linspace(0.0, 0.05, 11)


def predict(diffusivity):
    """What the sensors see at each time, shape (11, 3)."""
    return kp.solve(kp.Diffusion(grid, diffusivity), initial, times, observe=sensors).value


data = predict(truth) + 0.001 * jax.random.normal(jax.random.key(0), (11, 3))
# --8<-- [end:observe]


# --8<-- [start:gradient]
def misfit(diffusivity):
    """A loss is an ordinary function."""
    return 0.5 * jnp.sum((predict(diffusivity) - data) ** 2)


gradient = jax.jit(jax.grad(misfit))(jnp.ones(grid.shape))
# --8<-- [end:gradient]

# --8<-- [start:certificate]
print(kp.verify.taylor_test(misfit, jnp.ones(grid.shape), key=jax.random.key(1)))
# --8<-- [end:certificate]


# --8<-- [start:fit]
class Layers(eqx.Module):
    """The model: two layers, of unknown diffusivity."""

    left: kp.inverse.Positive
    right: kp.inverse.Positive

    def diffusivity(self):
        """The field that the equation needs."""
        return jnp.where(x < 0.5, self.left.value, self.right.value)


start = Layers(kp.inverse.Positive.from_value(0.6), kp.inverse.Positive.from_value(0.6))
loss = kp.inverse.LeastSquares(lambda model: predict(model.diffusivity()), data, sigma=0.001)
result = kp.inverse.fit(loss, start, optax.lbfgs(), max_iterations=8)
print(result.model.left.value, result.model.right.value)
# --8<-- [end:fit]


# --8<-- [start:network]
class Closure(eqx.Module):
    """The model: a neural network from the position to the logarithm of the diffusivity."""

    network: eqx.nn.MLP

    def diffusivity(self):
        """The field that the equation needs."""
        return jnp.exp(jax.vmap(self.network)(x[:, None]))


closure = Closure(eqx.nn.MLP(1, "scalar", 16, 2, key=jax.random.key(2)))
weights_gradient = eqx.filter_grad(lambda model: misfit(model.diffusivity()))(closure)
# --8<-- [end:network]

# --8<-- [start:diffrax]
equation = kp.Diffusion(grid, truth)
same = diffrax.diffeqsolve(
    diffrax.ODETerm(equation.vector_field),
    diffrax.Kvaerno5(),
    t0=0.0,
    t1=0.02,
    dt0=None,
    y0=initial,
    stepsize_controller=diffrax.PIDController(rtol=1e-4, atol=1e-6),
)
# --8<-- [end:diffrax]

# --8<-- [start:expm]
rotation = lx.MatrixLinearOperator(jnp.array([[0.0, -1.0], [1.0, 0.0]]))
turned = kp.expm_multiply(rotation, jnp.array([1.0, 0.0]), jnp.array([0.0, jnp.pi / 2, jnp.pi])).value
# --8<-- [end:expm]

# --8<-- [start:end]
assert jnp.allclose(turned, jnp.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]), atol=1e-6)
assert jnp.allclose(same.ys[0], solution.value, atol=1e-4)
assert jnp.allclose(result.model.left.value, 1.0, rtol=0.02)
assert jnp.allclose(result.model.right.value, 0.3, rtol=0.02)
# --8<-- [end:end]
