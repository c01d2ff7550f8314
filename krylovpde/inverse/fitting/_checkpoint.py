"""A fit on disk: a file that is whole at every moment, from which a fit goes on to the same numbers."""

import dataclasses
import json
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import PyTree

from ._driver import AbstractDriver
from ._history import History, Record

# What NumPy, zlib and json say of files that are cut off, overwritten or something else.
_UNREADABLE = (OSError, EOFError, AttributeError, KeyError, TypeError, ValueError, zipfile.BadZipFile, zlib.error)
_FORMAT = "krylovpde fit, 1"
# How far the loss at the start may be from that of the run that wrote the file: other machines round differently, and
# solvers keep their tolerance; another loss or another model is farther away.
_SAME_START = 1e-3


class Standing(NamedTuple):
    """Where a fit stands: the optimiser's state, the best parameters so far, and the iterations."""

    state: PyTree
    best: PyTree
    history: History


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Where and how often `fit` saves itself.

        fit(loss, model, optimiser, checkpoint=kp.inverse.Checkpoint("fit.npz"))

    If the file is there, the fit goes on from it; called again with the same arguments after it was killed at any
    moment, it ends with the same parameters and history, bit for bit (on the same machine and versions; `seconds` go on
    counting from the time in the file). A fit that had ended ends at once, or goes on if the rules by which it stops
    have changed.

    The file is written beside its place and then put there, so a whole one is there at every moment. It holds the
    optimiser's state (for L-BFGS with a memory of 10 that is 23 times the unknowns), the best parameters and the
    history, in NumPy's `.npz` format; nothing in it is executed when it is read.

    A fit that resumes still evaluates its starting model once, and compiles.

    **Arguments:**

    - `path`: the file. Its folder is made if it is not there. Every fit needs a file of its own.
    - `every`: after how many iterations it is written; always at the start and at the end.

    **Raises** (in `fit`): `ValueError` for a file that is damaged, that is no checkpoint, or that belongs to another
    fit (other unknowns, another optimiser or other settings of it, another loss at the starting model). The settings of
    an optax optimiser are not seen, only the form of its state.
    """

    path: str | os.PathLike[str]
    every: int = 1

    def __post_init__(self):
        if self.every < 1:
            message = f"Checkpoint: every must be at least 1, got {self.every}."
            raise ValueError(message)

    def is_due(self, iteration: int) -> bool:
        """Whether to write after this iteration."""
        return iteration % self.every == 0

    def save(self, driver: AbstractDriver, standing: Standing):
        """Write the file. Whatever happens, the old one or the new one is there."""
        path = Path(self.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        header = {
            "format": _FORMAT,
            "fingerprint": _fingerprint(driver, standing),
            "history": [dataclasses.asdict(record) for record in standing.history.records],
        }
        arrays: dict[str, Any] = {"header": np.frombuffer(json.dumps(header).encode(), np.uint8)}
        arrays |= {f"state_{i}": _to_numpy(leaf) for i, leaf in enumerate(_arrays(standing.state))}
        arrays |= {f"best_{i}": _to_numpy(leaf) for i, leaf in enumerate(_arrays(standing.best))}
        # One name: what a killed run has left half-written is overwritten by the next.
        partial = path.with_name(path.name + ".partial")
        with partial.open("wb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        _sync(path.parent)

    def load(self, driver: AbstractDriver, start: Standing) -> Standing | None:
        """What the file holds, in the form of a fit that has just started; `None` where there is no file."""
        if not Path(self.path).exists():
            return None
        header, arrays = self._read()
        self._check(header, driver, start)
        history = History(tuple(Record(**record) for record in header["history"]))
        state = _restore(start.state, arrays, "state")
        return Standing(state, _restore(start.best, arrays, "best"), history)

    def _read(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        try:
            # Opened here: NumPy leaves a file open in which it finds no archive.
            with Path(self.path).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            header = json.loads(arrays.pop("header").tobytes())
            known = header["format"] == _FORMAT
        except _UNREADABLE as error:
            message = (
                f"Checkpoint: {os.fspath(self.path)} cannot be read as a checkpoint of a fit ({error}). It is damaged "
                "or something else. Remove it to start anew, or give another path."
            )
            raise ValueError(message) from error
        if not known:
            message = f"Checkpoint: {os.fspath(self.path)} has the format {header['format']!r}, not {_FORMAT!r}."
            raise ValueError(message)
        return header, arrays

    def _check(self, header: dict[str, Any], driver: AbstractDriver, start: Standing):
        here, there = json.loads(json.dumps(_fingerprint(driver, start))), header["fingerprint"]
        for part in here:
            if here[part] != there.get(part):
                message = self._of_another(f"{part}: {_difference(there.get(part), here[part])}")
                raise ValueError(message)
        before, now = header["history"][0]["value"], start.history[0].value
        if not abs(before - now) <= _SAME_START * max(abs(before), abs(now)):
            message = self._of_another(f"loss at the start: {before:.6g} in the file, {now:.6g} in this fit")
            raise ValueError(message)

    def _of_another(self, difference: str) -> str:
        return (
            f"Checkpoint: {os.fspath(self.path)} belongs to another fit: {difference}. Remove it to start anew, or "
            "give every fit a path of its own."
        )


def _fingerprint(driver: AbstractDriver, standing: Standing) -> dict[str, Any]:
    """What has to be the same for a file to be of use."""
    unknowns = jtu.tree_flatten_with_path(standing.best)[0]
    return {
        "optimiser": [driver.name, _settings(driver)],
        "unknowns": [[jtu.keystr(path), *_form(leaf)] for path, leaf in unknowns],
        "state": [_form(leaf) for leaf in _arrays(standing.state)],
    }


def _settings(node: Any) -> Any:
    """The plain numbers and words of an optimiser, as far down as its modules go."""
    if isinstance(node, bool | int | float | str):
        return node
    if not dataclasses.is_dataclass(node):
        return None
    found = {field.name: _settings(getattr(node, field.name, None)) for field in dataclasses.fields(node)}
    return {type(node).__name__: {name: value for name, value in found.items() if value is not None}}


def _difference(there: Any, here: Any) -> str:
    if isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        there, here = next((a, b) for a, b in zip(there, here, strict=True) if a != b)
    return f"{there} in the file, {here} in this fit"


def _form(leaf: Any) -> list[Any]:
    return [list(leaf.shape), str(leaf.dtype)]


def _arrays(tree: PyTree) -> list[Any]:
    return jtu.tree_leaves(eqx.filter(tree, eqx.is_array))


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _to_numpy(leaf: Any) -> np.ndarray:
    return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def _restore(template: PyTree, arrays: dict[str, np.ndarray], name: str) -> PyTree:
    """The arrays in the places, types and on the devices of the template's."""
    dynamic, static = eqx.partition(template, eqx.is_array)
    leaves, structure = jtu.tree_flatten(dynamic)
    restored = [_like(leaf, arrays[f"{name}_{i}"]) for i, leaf in enumerate(leaves)]
    return eqx.combine(structure.unflatten(restored), static)


def _like(leaf: Any, array: np.ndarray) -> Any:
    if _is_key(leaf):
        return jax.random.wrap_key_data(jnp.asarray(array), impl=jax.random.key_impl(leaf))
    # NumPy does not know bfloat16 and its kin: they come back as bytes.
    array = array.view(leaf.dtype) if array.dtype.kind == "V" else array
    if isinstance(leaf, jax.Array) and len(leaf.sharding.device_set) > 1:
        return jax.device_put(array, leaf.sharding)
    return jnp.asarray(array)


def _sync(folder: Path):
    """Make the new name itself survive a loss of power; only POSIX systems open folders."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
