"""The reference: the exponential of the whole matrix."""

import equinox as eqx
import jax
import jax.flatten_util as jfu
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
from jaxtyping import Array, PyTree

from ._base import AbstractMethod


class Dense(AbstractMethod):
    r"""The exponential of the dense matrix, in $O(n^3)$ time and $O(n^2)$ memory: for tests and tiny systems.

    A second-order equation is put into its first-order form, sources into an augmented matrix; nothing is adapted,
    and the error is that of rounding. Adjoint: `DirectAdjoint`, JAX's own derivative of the matrix exponential.

    **Arguments:**

    - `max_size`: refuse larger systems, so that nobody forms such a matrix by accident.
    """

    max_size: int = eqx.field(default=4096, static=True)

    @property
    def name(self) -> str:
        return "Dense"

    @property
    def max_steps(self) -> int:
        return 1

    def check(self, operator: lx.AbstractLinearOperator) -> None:
        size = sum(leaf.size for leaf in jtu.tree_leaves(operator.in_structure()))
        if size > self.max_size:
            message = (
                f"`method=Dense()` would form a matrix of {size} x {size} numbers. Use Lanczos() or Arnoldi(), or "
                f"Dense(max_size={size}) if you mean it."
            )
            raise ValueError(message)


def dense_states(
    operator: lx.AbstractLinearOperator, order: int, state: tuple[PyTree[Array], ...], times: Array
) -> tuple[PyTree[Array], ...]:
    """The first `order` components at every time, from one exponential of the first-order form per time."""
    flat = [jfu.ravel_pytree(component) for component in state]
    unravel = flat[0][1]
    size = flat[0][0].size
    dtype = flat[0][0].dtype
    matrix = jax.vmap(lambda unit: jfu.ravel_pytree(operator.mv(unravel(unit)))[0], out_axes=1)(
        jnp.eye(size, dtype=dtype)
    )
    total = size * len(state)
    generator = jnp.zeros((total, total), dtype)
    for component in range(len(state) - 1):
        rows = slice(component * size, (component + 1) * size)
        columns = slice((component + 1) * size, (component + 2) * size)
        generator = generator.at[rows, columns].set(jnp.eye(size, dtype=dtype))
    last = slice((order - 1) * size, order * size)
    generator = generator.at[last, :size].add(matrix)
    start = jnp.concatenate([vector for vector, _ in flat])

    def at(t: Array) -> tuple[PyTree[Array], ...]:
        # Past its `max_squarings` JAX's exponential returns NaN; 64 squarings are past every finite time.
        solution = jax.scipy.linalg.expm(t.astype(dtype) * generator, max_squarings=64) @ start
        return tuple(unravel(solution[c * size : (c + 1) * size]) for c in range(order))

    return jax.lax.map(at, times)
