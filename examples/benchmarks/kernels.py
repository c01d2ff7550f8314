"""How fast the innermost loops are beside the memory: a recurrence's step, the operator, the parameters' derivative.

Everything is timed inside a jitted loop, where large arrays are neither allocated nor copied out; the loops take turns,
and the shortest of the repeats counts:

* copy: as many arrays as a step has to read and write, moved with one addition each;
* operator: `x -> x + ε A x`, the cheapest loop that contains the operator;
* step: Chebyshev's recurrence with the sum of one output, `T_(k+1) = 2 Z T_k - T_(k-1)`, `y += c_k T_(k+1)`;
* derivative: the cotangent of the operator's coefficients, added up.

    OPENBLAS_NUM_THREADS=1 python examples/benchmarks/kernels.py [--sizes 256 512 1024 2048] [--cube 128]
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import krylovpde as kp
from krylovpde.operator import parameter_vjp, spectral_interval


def repeated(body: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    """`count` times `body`, two at a time: a carry that trades places would be copied otherwise."""

    @jax.jit
    def run(count, carry):
        return lax.fori_loop(0, count, lambda _, carry: body(body(carry)), carry)

    return run


def loops(equation: Any, dtype: Any) -> dict[str, tuple[Callable[[Any, Any], Any], Any]]:
    """By name: the loop, and what it starts from."""
    operator = equation.operator()
    shape = operator.in_structure().shape
    x = jnp.asarray(np.random.default_rng(0).standard_normal(shape), dtype)
    interval = spectral_interval(operator)
    assert interval is not None  # of the package's own operators it is known
    width = ((interval[1] - interval[0]) / 2).astype(dtype)
    small = 0.1 / width
    coefficients = len([leaf for leaf in jax.tree_util.tree_leaves(operator) if leaf.shape == shape])
    # A step reads two vectors, the sum and the coefficients, and writes a vector and the sum.
    streams = 3 + coefficients

    def copy(carry):
        return tuple(leaf + small for leaf in carry)

    def apply(carry):
        return (carry[0] + small * operator.mv(carry[0]),)

    def step(carry):
        older, newer, total = carry
        older = (2.0 / width) * operator.mv(newer) + 2.0 * newer - older
        return newer, older, total + small * older

    def derivative(carry):
        vector, sums = carry
        change = parameter_vjp(operator, vector, vector)
        return vector + small, jax.tree_util.tree_map(jnp.add, sums, change)

    zeros = jax.tree_util.tree_map(jnp.zeros_like, parameter_vjp(operator, x, x))
    # A copy of n arrays reads and writes n; a step reads `streams` and writes two.
    arrays = (streams + 2) // 2
    return {
        "copy": (repeated(copy), (x,) * arrays),
        "operator": (repeated(apply), (x,)),
        "step": (repeated(step), (x, x, x)),
        "derivative": (repeated(derivative), (x, zeros)),
    }


def measure(equation: Any, dtype: Any, repeats: int) -> dict[str, float]:
    """Seconds of one step of each loop."""
    made = loops(equation, dtype)
    cells = equation.grid.cell_volumes.size
    count = max(2, int(4e6 / cells))
    best = dict.fromkeys(made, np.inf)
    for _ in range(repeats + 1):
        for name, (run, carry) in made.items():
            began = time.perf_counter()
            jax.block_until_ready(run(count, carry))
            best[name] = min(best[name], (time.perf_counter() - began) / (2 * count))
    return best


def problems(sizes: list[int], cube: int) -> dict[str, Callable[[Any], Any]]:
    """Waves and heat on squares and on a cube, with a field of coefficients."""
    shapes = {f"{size}²": (size, size) for size in sizes} | ({f"{cube}³": (cube,) * 3} if cube else {})

    def make(kind: Any, shape: tuple[int, ...]) -> Callable[[Any], Any]:
        grid = kp.Grid(shape=shape, lower=(0.0,) * len(shape), upper=(1.0,) * len(shape))
        field = 1.0 + 0.5 * np.random.default_rng(1).random(shape)
        return lambda dtype: kind(grid, jnp.asarray(field, dtype))

    return {
        f"{kind.__name__} {name}": make(kind, shape)
        for name, shape in shapes.items()
        for kind in (kp.Wave, kp.Diffusion)
    }


def main():
    """A table, and a file of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="*", default=[256, 512, 1024, 2048])
    parser.add_argument("--cube", type=int, default=128, help="cells along each axis of the cube; 0 for none")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("results/kernels.json"))
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    rows = []
    print(f"{'':18}{'dtype':>9}{'copy':>10}{'operator':>10}{'step':>10}{'deriv.':>10}  step/copy  step/op.  deriv./op.")
    for name, make in problems(options.sizes, options.cube).items():
        for dtype in (jnp.float32, jnp.float64):
            seconds = measure(make(dtype), dtype, options.repeats)
            copy, apply, step, derivative = (1e6 * seconds[key] for key in ("copy", "operator", "step", "derivative"))
            times = "".join(f"{number:8.0f}µs" for number in (copy, apply, step, derivative))
            ratios = f"{step / copy:10.2f}{step / apply:10.2f}{derivative / apply:11.2f}"
            print(f"{name:18}{np.dtype(dtype).name:>9}{times} {ratios}", flush=True)
            rows.append({"problem": name, "dtype": np.dtype(dtype).name, **seconds})
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps({"device": str(jax.devices()[0]), "rows": rows}, indent=1))
    print(f"written: {options.output}")


if __name__ == "__main__":
    main()
