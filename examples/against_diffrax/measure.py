"""Errors, seconds, applications and memory of one row."""

import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

from . import by_diffrax
from .cases import Case
from .competitor import Competitor

# Beyond this part of the machine's memory a program is not started.
MEMORY_PART = 0.5
PATIENCE = 10.0  # seconds after which no further repeat begins


def loss(case: Case, competitor: Competitor, coefficient: Any) -> tuple[Any, Any]:
    """`<w, u>`, and what is looked at."""
    field, applications = competitor.solve(coefficient)  # pyright: ignore[reportOptionalCall]
    return jnp.vdot(case.weight, field), (field, applications)


def reference(case: Case) -> tuple[Any, Any]:
    """Field and gradient of Diffrax's eighth-order solver at a tolerance of 1e-11."""
    adjoint = diffrax.RecursiveCheckpointAdjoint()
    solve = partial(by_diffrax.solve, case, diffrax.Dopri8(), adjoint, 1e-11)
    function = jax.value_and_grad(partial(loss, case, Competitor("", "", "", solve)), has_aux=True)
    (_, (field, _)), gradient = jax.jit(function)(case.coefficient)
    return field, gradient


def measure(case: Case, competitor: Competitor, exact: tuple[Any, Any], repeats: int) -> dict[str, Any]:
    """One row. Raises whatever the competitor raises, and `MemoryError` before the machine would run out."""
    row: dict[str, Any] = {"problem": case.name, "size": case.size}
    row |= {"method": competitor.method, "adjoint": competitor.adjoint, "tolerance": competitor.tolerance}
    if competitor.run is not None:
        function = competitor.run()
        row["value_error"] = relative_error(function()[0], exact[0])
        return row | {"forward_s": median(function, repeats)}
    c = case.coefficient
    both, row["compile_s"] = compiled(jax.value_and_grad(partial(loss, case, competitor), has_aux=True), c)
    row["memory_fields"] = temporary_bytes(both) / c.nbytes
    (_, (field, applications)), gradient = jax.block_until_ready(both(c))
    row["value_error"], row["gradient_error"] = map(relative_error, (field, gradient), exact)
    row["applications"] = None if applications is None else int(applications)
    forward, _ = compiled(lambda c: loss(case, competitor, c)[0], c)
    row["forward_s"], row["value_and_gradient_s"] = (median(partial(f, c), repeats) for f in (forward, both))
    if competitor.with_gradient is not None:
        row["applications_with_gradient"] = competitor.with_gradient()
    return row


def compiled(function: Callable[[Any], Any], argument: Any) -> tuple[Any, float]:
    """The program and the seconds that tracing and compiling took."""
    began = time.perf_counter()
    program = jax.jit(function).lower(argument).compile()
    seconds = time.perf_counter() - began
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if (needed := temporary_bytes(program)) > MEMORY_PART * memory:
        message = f"needs {needed / 2**30:.0f} GiB of memory"
        raise MemoryError(message)
    return program, seconds


def temporary_bytes(program: Any) -> float:
    """Peak temporary memory of a compiled program; NaN where the backend does not say."""
    analysis = program.memory_analysis()
    return float("nan") if analysis is None else analysis.temp_size_in_bytes


def relative_error(value: Any, exact: Any) -> float:
    """In the Euclidean norm, in double precision."""
    return float(np.linalg.norm(np.asarray(value, float) - exact) / np.linalg.norm(exact))


def median(function: Callable[[], Any], repeats: int) -> float:
    """Median seconds after a warm-up; fewer repeats of what takes long."""
    jax.block_until_ready(function())
    seconds: list[float] = []
    while len(seconds) < repeats and sum(seconds) < PATIENCE:
        began = time.perf_counter()
        jax.block_until_ready(function())
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)
