"""How a linear equation whose sources vary in time is solved: by polynomials, from panel to panel, or in steps."""

from typing import Any

import lineax as lx

from ..action import AbstractMethod, Chebyshev, Faber
from ..equation import AbstractSignal
from ._entrance import method_when_driven, wants_contour
from ._etdrk import ETDRK4
from ._panels import Panels


def method_for_driven(
    operator: lx.AbstractLinearOperator, order: int, signals: list[AbstractSignal], method: Any
) -> Any:
    """What `solve` takes for `method`, where sources vary in time; static facts only.

    An action that knows no signals is exact from one breakpoint to the next where all signals are straight lines.
    Where no polynomial serves the operator and a signal is a function of time, steps of an integrator do.
    """
    if order != 1 or isinstance(method, Chebyshev | Faber):
        return method
    # Around a well a polynomial for ten decades of eigenvalues does not end; solves from panel to panel do.
    if method is None and not wants_contour(operator) and method_when_driven(operator, order) is not None:
        return None
    degrees = [signal.degree for signal in signals]
    known = [degree for degree in degrees if degree is not None]
    if method is None or isinstance(method, AbstractMethod):
        if len(known) == len(degrees) and max(known) <= 1:
            return Panels(action=method, degree=max(known))
        if method is None:
            return ETDRK4()
        message = (
            f"`method={method.name}()` serves sources that are time series (kp.Sampled, or kp.Piecewise of numbers), "
            f"and one of these is a function of time: use `ETDRK4({method.name}())`, or `Chebyshev()` where it serves."
        )
        raise ValueError(message)
    return method
