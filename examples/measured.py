"""What the examples on measured data share: their arguments, reading files, a fit and how certain it is."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jax.flatten_util import ravel_pytree

import krylovpde as kp


def arguments(name: str, description: str) -> argparse.ArgumentParser:
    """`--data` and `--output`: the folder that holds the folder of the data, and the figure."""
    parser = argparse.ArgumentParser(description=description)
    default = os.environ.get("KRYLOVPDE_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=Path(default), help="the folder that holds the data's own")
    parser.add_argument("--output", type=Path, default=Path(f"results/{name}.png"), help="the figure")
    return parser


def existing(path: Path, origin: str) -> Path:
    """The path; ends the program with what to get if the file is not there."""
    if not path.is_file():
        sys.exit(
            f"There is no file {path}.\nIt comes from {origin}.\n"
            f"Put it there, or name the folder that holds {path.parent.name} by --data DIR or in KRYLOVPDE_DATA."
        )
    return path


def save(figure: Any, path: Path):
    """The figure, in a folder that is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    print(f"\nfigure: {path}")


_OPTIMISER = optx.LevenbergMarquardt(rtol=1e-4, atol=1e-4)


# --8<-- [start:fit]
class Estimate(NamedTuple):
    """The best model; standard errors and correlations of its numbers as they are stored; prediction; iterations."""

    model: Any
    errors: np.ndarray
    correlations: np.ndarray
    prediction: np.ndarray
    rmse: float
    iterations: int


def fit(predict: Any, data: np.ndarray, sigma: float, model: Any, trainable: Any = eqx.is_inexact_array) -> Estimate:
    """Least squares for data of one standard deviation; NaN is no datum. Errors are scaled to the residual's size."""
    loss = kp.inverse.LeastSquares(predict, data, np.where(np.isnan(data), np.inf, sigma))
    result = kp.inverse.fit(loss, model, _OPTIMISER, trainable=trainable, progress=None)
    if result.failed:
        sys.exit(f"The fit failed: {result.reason}.")
    residual, jacobian = map(np.asarray, linearised(loss, *eqx.partition(result.model, trainable)))
    count = float(loss.num_data)
    covariance = np.linalg.inv(jacobian.T @ jacobian) * np.sum(residual**2) / (count - jacobian.shape[1])
    errors = np.sqrt(np.diagonal(covariance))
    prediction, rmse = np.asarray(predict(result.model)), sigma * float(np.sqrt(np.sum(residual**2) / count))
    correlations = covariance / np.outer(errors, errors)
    return Estimate(result.model, errors, correlations, prediction, rmse, len(result.history) - 1)


@eqx.filter_jit
def linearised(loss: kp.inverse.LeastSquares, free: Any, fixed: Any) -> tuple[jax.Array, jax.Array]:
    """The residual in one row, and its derivatives with respect to the free numbers."""
    flat, unravel = ravel_pytree(free)
    residual, jvp = jax.linearize(lambda p: loss.residual(eqx.combine(unravel(p), fixed)).ravel(), flat)
    return residual, jax.vmap(jvp, out_axes=1)(jnp.eye(flat.size))


# --8<-- [end:fit]
