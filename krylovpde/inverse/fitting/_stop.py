"""When to end a fit. A rule is a small object that looks at the history and gives a reason, or `None` to go on."""

import abc

import equinox as eqx
import numpy as np

from ._history import History


class AbstractStop(eqx.Module):
    """A stop rule."""

    @abc.abstractmethod
    def __call__(self, history: History) -> str | None:
        """The reason to stop now, or `None`."""


class MaxIterations(AbstractStop):
    """Stop after a number of iterations."""

    number: int = eqx.field(static=True)

    def __call__(self, history: History) -> str | None:
        done = history[-1].iteration
        return f"{done} iterations done" if done >= self.number else None


class MaxSeconds(AbstractStop):
    """Stop after the first iteration that ends later than so many seconds after the start."""

    seconds: float = eqx.field(static=True)

    def __call__(self, history: History) -> str | None:
        passed = history[-1].seconds
        return f"{passed:.0f} s passed" if passed >= self.seconds else None


class Discrepancy(AbstractStop):
    """Morozov's discrepancy principle: stop as soon as `χ²/N <= target`.

    A model that fits the data better than the data are known fits their errors. With standard deviations that hold the
    noise *and* the mesh error the target is 1; where they hold the noise alone, it is `1 + (mesh error / noise)²`.

    Source: Engl, Hanke, Neubauer, *Regularization of Inverse Problems* (1996), §4.3.
    """

    target: float = eqx.field(static=True, default=1.0)

    def __call__(self, history: History) -> str | None:
        misfit = history[-1].misfit
        if np.isnan(misfit):
            message = (
                "Discrepancy: the loss does not know its misfit. Use LeastSquares (plus penalties) as the loss, "
                "or another stop rule."
            )
            raise ValueError(message)
        return f"misfit χ²/N = {misfit:.3g} reached the target {self.target:.3g}" if misfit <= self.target else None


class GradientNorm(AbstractStop):
    """Stop where the gradient's norm has fallen to `relative` times that at the start."""

    relative: float = eqx.field(static=True, default=1e-3)

    def __call__(self, history: History) -> str | None:
        first, last = history[0].gradient_norm, history[-1].gradient_norm
        if last > self.relative * first:
            return None
        return f"gradient norm fell to {last:.3g}, at most {self.relative:.3g} of the start's"


class Stagnation(AbstractStop):
    """Stop where the loss fell by less than `relative` of itself over the last `window` iterations."""

    relative: float = eqx.field(static=True, default=1e-4)
    window: int = eqx.field(static=True, default=5)

    def __call__(self, history: History) -> str | None:
        if len(history) <= self.window:
            return None
        before = np.min(history.value[: -self.window])
        now = np.min(history.value)
        if before - now > self.relative * abs(before):
            return None
        return f"the loss fell by less than {self.relative:.1g} of itself in {self.window} iterations"
