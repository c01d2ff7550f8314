"""The coefficient as a function to learn: a network of positions, or the field itself."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.nn import softplus
from jaxtyping import Array, Float

WIDTH, DEPTH = 500, 2
OUTPUT_SCALE = float(softplus(-5.0))  # of the published network's output


class Network(eqx.Module):
    """`p(x) = softplus(-5) · MLP(x)`, two hidden layers of 500, relu."""

    layers: eqx.nn.MLP
    size: int = eqx.field(static=True)

    def __init__(self, size: int, key: Array, width: int = WIDTH):
        """On `size × size` positions."""
        self.layers = eqx.nn.MLP(2, "scalar", width, DEPTH, jax.nn.relu, key=key)
        self.size = size

    def __call__(self) -> Float[Array, "n n"]:
        """The field."""
        nodes = jnp.linspace(0.0, 1.0, self.size, dtype=jnp.float32)
        positions = jnp.stack(jnp.meshgrid(nodes, nodes, indexing="ij"), axis=-1).reshape(-1, 2)
        return OUTPUT_SCALE * jax.vmap(self.layers)(positions).reshape(self.size, self.size)


class Field(eqx.Module):
    """`p` at the nodes, in units of `softplus(-5)` so that Adam's steps mean the same to it as to the network."""

    values: Float[Array, "n n"]

    def __init__(self, size: int, key: Array):
        """Starts at the published scale: the gradient with respect to `p` vanishes where `p` does."""
        del key
        self.values = jnp.ones((size, size), jnp.float32)

    def __call__(self) -> Float[Array, "n n"]:
        """The field."""
        return OUTPUT_SCALE * self.values


PARAMETRISATIONS = {"network": Network, "field": Field}
