"""Equations of second order that are solved in a form of first order: damped and absorbed waves."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .._solution import Solution
from ..equation import AbstractEquation, AbstractFirstOrderForm
from ._entrance import as_times, cast_like, real_dtype, tolerances
from ._observation import as_fields, as_observation, observed
from ._run import finish

# The tolerance of a form is one in its energy, where a displacement counts with the largest frequency of the grid. An
# error there is the velocity's, whose size goes with the frequency that the data have: this share of the largest, 71
# cells in a wavelength, is the lowest at which the velocity's error stays below what was asked for.
_SLOWEST_SHARE = 1.0 / 32.0


def solve_in_first_order(
    solve: Callable[..., Solution],
    equation: AbstractEquation,
    form: AbstractFirstOrderForm,
    initial: Any,
    times: Any,
    t0: Any,
    observe: Any,
    rtol: Any,
    options: dict[str, Any],
) -> Solution:
    """`solve` of the form, from and to what the equation's own users know."""
    field = equation.operator()
    fields = as_fields(equation, initial, field)
    dtype = real_dtype(fields)
    state = form.extended(type(initial)(*cast_like(fields, dtype)))
    absolute, scalar = as_times(times, dtype, "times")
    rtol, _ = tolerances(rtol, options["atol"], dtype)
    rtol = max(_SLOWEST_SHARE * rtol, 10.0 * float(np.finfo(dtype).eps))
    linear, _ = as_observation(observe, equation.order, field)
    solution = solve(form, state, absolute, t0=t0, observe=form.seeing(linear), rtol=rtol, **options)
    value = solution.value
    if observe is not None and linear is None:
        value = observed(observe, absolute, value)
    return finish(value, solution.result, solution.stats, absolute, scalar, throw=False)
