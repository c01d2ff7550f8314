"""Five fits with checkpoints, for `test_checkpoint.py` to run in a process of its own and to kill.

    python tests/inverse/killed.py FOLDER SECONDS NAME ...

writes a line for each iteration, of `SECONDS` at least, and `FOLDER/NAME.txt` with all numbers of each fit in
hexadecimal.
"""

import sys
import time
from functools import cache
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import optimistix as optx

from krylovpde.inverse import LBFGS, Box, Checkpoint, GaussNewton, LeastSquares, Positive, fit


class Peaks(eqx.Module):
    heights: Box
    rates: Positive

    def __call__(self):
        x = jnp.linspace(0.0, 1.0, 30)
        return jnp.sum(self.heights.value[:, None] * jnp.exp(-self.rates.value[:, None] * x), axis=0)


def start(limit):
    return Peaks(Box(jnp.asarray([1.0, 0.5]), -limit, limit), Positive.from_value(jnp.asarray([1.0, 3.0])))


@cache
def loss():
    """One object, so that a second fit is not compiled again."""
    truth = Peaks(Box(jnp.asarray([2.0, -1.5]), -np.inf, np.inf), Positive.from_value(jnp.asarray([2.0, 9.0])))
    return LeastSquares(lambda model: model(), truth() + 0.01 * jnp.cos(40 * jnp.linspace(0.0, 1.0, 30)), 0.1)


#: Each with the number of its iterations, and the limit of the heights that it knows.
FITS = {
    "adam": (lambda: optax.adam(0.05), 25, 1.8),
    "optax_lbfgs": (lambda: optax.lbfgs(), 16, np.inf),
    "lbfgs": (lambda: LBFGS(memory=4), 18, 1.8),
    "gauss_newton": (lambda: GaussNewton(damping=1e7), 18, 1.8),
    "levenberg_marquardt": (lambda: optx.LevenbergMarquardt(1e-12, 1e-12), 25, np.inf),
}


def run(name, checkpoint=None, callbacks=()):
    optimiser, iterations, limit = FITS[name]
    return fit(
        loss(),
        start(limit),
        optimiser(),
        max_iterations=iterations,
        checkpoint=checkpoint,
        callbacks=callbacks,
        progress=None,
    )


def numbers(result):
    """All that a fit comes to, but for the time it took."""
    leaves = [np.asarray(leaf).tobytes().hex() for leaf in jax.tree.leaves(eqx.filter(result.model, eqx.is_array))]
    records = [
        (
            r.iteration,
            r.value.hex(),
            r.misfit.hex(),
            r.gradient_norm.hex(),
            r.evaluations,
            r.accepted,
            r.jacobian_products,
        )
        for r in result.history.records
    ]
    return "\n".join([*leaves, *map(str, records), result.reason])


def main(folder, seconds, *names):
    jax.config.update("jax_enable_x64", True)

    def tell(record, _):
        print("iteration", record.iteration, flush=True)
        time.sleep(float(seconds))

    for name in names:
        result = run(name, Checkpoint(Path(folder) / f"{name}.npz"), tell)
        Path(folder, f"{name}.txt").write_text(numbers(result))
    print("done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
