"""Names and units."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, ArrayLike, PyTree, Shaped

from ._base import AbstractParameter, Raw, as_raw, value_of, with_value_of


class Named(AbstractParameter):
    """A parameter with a name and a unit, for tables and figures; its value is that of the parameter.

    **Arguments:**

    - `parameter`: an array or another parameter.
    - `name`: what it is called in a table.
    - `unit`: of the value, as text: "m²/s".
    """

    parameter: Raw = eqx.field(converter=as_raw)
    name: str = eqx.field(static=True)
    unit: str = eqx.field(static=True, default="")

    @property
    def value(self) -> Array:
        """The parameter's value."""
        return value_of(self.parameter)

    def with_value(self, value: Shaped[ArrayLike, "..."]) -> "Named":
        return Named(with_value_of(self.parameter, jnp.asarray(value)), self.name, self.unit)


def named_parameters(model: PyTree) -> dict[str, Named]:
    """The named parameters of a model, by their names, in the order of the model's fields.

    **Arguments:**

    - `model`: any pytree.

    **Returns:** a dictionary. What stands inside of a `Named` is not searched for more.

    **Raises:** `ValueError` for a name that two parameters share.
    """
    found: dict[str, Named] = {}
    for leaf in jtu.tree_leaves(model, is_leaf=lambda node: isinstance(node, Named)):
        if not isinstance(leaf, Named):
            continue
        if leaf.name in found:
            message = f"named_parameters: two parameters of the model are called {leaf.name!r}. Give each its own name."
            raise ValueError(message)
        found[leaf.name] = leaf
    return found


def parameter_table(model: PyTree) -> str:
    """A table of the named parameters of a model, one per line: name, value or range, unit, number of unknowns.

    **Arguments:**

    - `model`: any pytree. Its arrays have to be known: not inside of `jit`.

    **Returns:** text.

    **Raises:** `ValueError` for a name that two parameters share.
    """
    rows = [("parameter", "value", "unit", "unknowns")]
    for name, parameter in named_parameters(model).items():
        rows.append((name, _text(parameter.value), parameter.unit, str(_num_unknowns(parameter))))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        f"{name:<{widths[0]}}  {value:<{widths[1]}}  {unit:<{widths[2]}}  {count:>{widths[3]}}"
        for name, value, unit, count in rows
    ]
    return "\n".join(lines)


def _text(value: Any) -> str:
    known = np.asarray(value)
    if known.size == 1:
        return f"{known.item():.6g}"
    if known.size <= 4:
        return ", ".join(f"{number:.4g}" for number in known.ravel())
    return f"{known.min():.4g} to {known.max():.4g}, mean {known.mean():.4g}"


def _num_unknowns(parameter: Named) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(parameter) if eqx.is_inexact_array(leaf))
