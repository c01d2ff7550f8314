"""A model to a file and back: the same solution and the same gradient, bit for bit.

python examples/composition/serialise.py [--size 64] [--file FILE]
"""

import argparse
import tempfile
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp

import krylovpde as kp

jax.config.update("jax_enable_x64", True)


# --8<-- [start:model]
def make_model(size: int, key: jax.Array) -> kp.AdvectionDiffusion:
    """An equation is an Equinox module itself: grid and conditions are structure, coefficients are leaves."""
    keys = jax.random.split(key)
    grid = kp.Grid(shape=(size,), lower=(0.0,), upper=(1.0,))
    diffusivity = jnp.exp(0.3 * jax.random.normal(keys[0], (size,)))
    return kp.AdvectionDiffusion(
        grid, diffusivity, (5.0 + jax.random.normal(keys[1], (size,)),), boundary=kp.Dirichlet()
    )


# --8<-- [end:model]


@eqx.filter_jit
@eqx.filter_value_and_grad(has_aux=True)
def loss(equation: kp.AdvectionDiffusion) -> tuple[jax.Array, jax.Array]:
    """A number, and the solution that it is of."""
    (x,) = equation.grid.coordinates
    solution = kp.solve(equation, jnp.exp(-(((x - 0.3) / 0.1) ** 2)), 0.01).value
    return jnp.sum(solution**2), solution


def main() -> None:
    """Write, read into a model of the same structure, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=64, help="cells")
    parser.add_argument("--file", type=Path, default=Path(tempfile.gettempdir()) / "krylovpde_model.eqx")
    arguments = parser.parse_args()

    # --8<-- [start:round_trip]
    model = make_model(arguments.size, jax.random.key(0))
    eqx.tree_serialise_leaves(arguments.file, model)
    # Any model of this structure will do as the mould: its numbers are replaced.
    mould = eqx.filter_eval_shape(make_model, arguments.size, jax.random.key(1))
    again = eqx.tree_deserialise_leaves(arguments.file, mould)
    # --8<-- [end:round_trip]

    (value, solution), gradient = loss(model)
    (same_value, same_solution), same_gradient = loss(again)
    print(f"{arguments.file}: {arguments.file.stat().st_size} bytes")
    print(f"loss {value:.16e} and {same_value:.16e}")
    for name, first, second in (("solution", solution, same_solution), ("gradient", gradient, same_gradient)):
        pairs = zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
        print(f"{name}: {'the same, bit for bit' if all((a == b).all() for a, b in pairs) else 'NOT THE SAME'}")


if __name__ == "__main__":
    main()
