"""Gray and Scott's equations: two species, and spots that divide.

    u_t = D_u Δu - u v² + F (1 - u),    v_t = D_v Δv + u v² - (F + k) v,    periodic

python examples/semilinear/gray_scott.py [--size 96] [--end 2500] [--figure FILE]
"""

import argparse
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import krylovpde as kp

jax.config.update("jax_enable_x64", True)

FEED, KILL = 0.035, 0.062


# --8<-- [start:equation]
class Species(NamedTuple):
    """The state is any pytree of fields."""

    u: jax.Array | float
    v: jax.Array | float


def equation(grid: kp.Grid, feed: float | jax.Array = FEED, kill: float | jax.Array = KILL) -> kp.ReactionDiffusion:
    """Pearson's (1993) diffusivities, on a square of side 1."""

    def reaction(_t, _x, state):
        made = state.u * state.v**2
        return Species(-made + feed * (1.0 - state.u), made - (feed + kill) * state.v)

    return kp.ReactionDiffusion(grid, Species(2e-5, 1e-5), reaction, boundary=kp.Periodic())


# --8<-- [end:equation]


def start(grid: kp.Grid) -> Species:
    """At rest, but for a square in the middle."""
    x, y = grid.coordinates
    bump = jnp.asarray(np.exp(-(((x - 0.5) / 0.06) ** 2) - ((y - 0.48) / 0.05) ** 2))
    return Species(1.0 - 0.5 * bump, 0.25 * bump)


def draw(axes, size: int = 96, end: float = 2500.0) -> None:
    """The second species at the end."""
    grid = kp.Grid((size, size), (0.0, 0.0), (1.0, 1.0))
    solution = kp.solve(equation(grid), start(grid), end, rtol=1e-4, max_steps=1024)
    stats = solution.stats
    print(f"Gray–Scott: {stats.method}, {stats.num_steps} steps, {stats.applications} applications")
    axes.imshow(solution.value.v.T, origin="lower", extent=(0, 1, 0, 1), cmap="magma")
    axes.set(title="Gray–Scott")


def main() -> None:
    """Steps and applications."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--end", type=float, default=2500.0)
    parser.add_argument("--figure")
    arguments = parser.parse_args()
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots()
    draw(axes, arguments.size, arguments.end)
    if arguments.figure:
        figure.savefig(arguments.figure)


if __name__ == "__main__":
    main()
