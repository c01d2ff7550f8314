"""What the examples on measured data share: their arguments, reading files, a fit and how certain it is."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import numpy as np

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
    enough = kp.inverse.Stagnation(relative=1e-5, window=1)
    result = kp.inverse.fit(loss, model, kp.inverse.GaussNewton(), stop=enough, trainable=trainable, progress=None)
    if result.failed:
        sys.exit(f"The fit failed: {result.reason}.")
    certainty = kp.inverse.linearised_uncertainty(loss, result.model, trainable=trainable)
    errors = np.sqrt(np.diagonal(certainty.covariance))
    prediction = np.asarray(predict(result.model))
    rmse = float(np.sqrt(np.nanmean((prediction - data) ** 2)))
    return Estimate(result.model, errors, certainty.correlation, prediction, rmse, len(result.history) - 1)


# --8<-- [end:fit]
