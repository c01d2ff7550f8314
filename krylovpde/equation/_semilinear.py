"""An equation made of an operator and a function."""

from collections.abc import Callable
from typing import Any

import lineax as lx
from jaxtyping import Array, Inexact, PyTree, Real

from ..signal import AbstractSignal
from ._base import AbstractEquation, merge_breakpoints
from ._checks import as_breakpoints
from ._linear import Linear


class Semilinear(AbstractEquation):
    r"""`u_t = A u + N(t, u) + source` for any linear operator and any function.

    What is stiff belongs into the operator, which the exponential integrators treat exactly; what is not, or is not
    linear, into the function.

    !!! Example

        ```python
        equation = kp.Semilinear(kp.Laplacian(grid), lambda t, u: u - u**3)     # Allen and Cahn's
        ```
    """

    linear: Linear
    nonlinear_function: Callable[[Any, PyTree], PyTree]
    jumps: Array | None

    def __init__(
        self,
        operator: lx.AbstractLinearOperator,
        nonlinear: Callable[[Any, PyTree], PyTree],
        source: Any = None,
        *,
        breakpoints: Any = None,
    ):
        """A semilinear equation.

        **Arguments:**

        - `operator`: `A`, a square linear operator on the field.
        - `nonlinear`: `N`, a function of the time and the field that returns a field; an Equinox module, if it has
            parameters (arrays that a bare function closes over keep their derivatives, too).
        - `source`: as for [`krylovpde.Linear`][].
        - `breakpoints`: the times at which `nonlinear` jumps, shape `(n,)`, where it does. Steps end there; those of
            the sources are known without being told.

        **Raises:**

        `TypeError` for something that is not a lineax operator or not callable; those of [`krylovpde.Linear`][].
        """
        if not callable(nonlinear):
            message = f"`Semilinear(nonlinear)` must be a function of (t, u), got {type(nonlinear)}."
            raise TypeError(message)
        self.linear = Linear(operator, source)
        self.nonlinear_function = nonlinear
        self.jumps = as_breakpoints(breakpoints, "Semilinear(breakpoints)")

    @property
    def source(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        """As it was given."""
        return self.linear.source

    def operator(self) -> lx.AbstractLinearOperator:
        """The linear part."""
        return self.linear.operator()

    def forcing(self) -> PyTree[Inexact[Array, "..."]] | None:
        """The constant sources as a field."""
        return self.linear.forcing()

    def driving(self) -> tuple[tuple[PyTree[Inexact[Array, "..."]], AbstractSignal], ...]:
        """The sources that vary in time."""
        return self.linear.driving()

    @property
    def breakpoints(self) -> Real[Array, " breaks"]:
        """Those of the sources, and those that were named."""
        named = [] if self.jumps is None else [self.jumps]
        return merge_breakpoints([self.linear.breakpoints, *named])

    def nonlinear(self, t: Any, u: PyTree) -> PyTree[Inexact[Array, "..."]]:
        """`N(t, u)`."""
        return self.nonlinear_function(t, u)
