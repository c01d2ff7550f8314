"""Double precision for a while: the experiment is in single precision, its references are not."""

from contextlib import AbstractContextManager

import jax
import jax.experimental


def double() -> AbstractContextManager:
    """JAX's 64-bit mode inside a `with` block (a function of `jax` itself since 0.8, experimental before)."""
    home = jax if hasattr(jax, "enable_x64") else jax.experimental
    return getattr(home, "enable_x64")(True)  # noqa: B009
