"""Reactions of one or several species that diffuse."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
import numpy as np
from jaxtyping import Array, Inexact, PyTree, Real

from ..grid import AbstractGrid, only_active
from ..operator import BlockOperator
from ..signal import AbstractSignal
from ._base import AbstractEquation, merge_breakpoints
from ._checks import as_breakpoints, check_grid
from ._diffusion import Diffusion


class ReactionDiffusion(AbstractEquation):
    r"""Species that diffuse and react.

        u_t = div(diffusivity grad u) + reaction(t, x, u) + source

    One species is a field; several are a pytree of fields (a tuple, a dictionary, a named tuple), each with its own
    diffusivity. Fisher and Kolmogorov's equation is `reaction = lambda t, x, u: r * u * (1 - u)`; a neural reaction is
    an Equinox module. The diffusion is treated exactly, by exponential integrators; the reaction should not be stiff.
    """

    grid: AbstractGrid
    species: PyTree[Diffusion]
    reaction: Callable[[Any, tuple[np.ndarray, ...], PyTree], PyTree]
    jumps: Array | None

    def __init__(
        self,
        grid: AbstractGrid,
        diffusivity: PyTree[Any],
        reaction: Callable[[Any, tuple[np.ndarray, ...], PyTree], PyTree],
        *,
        boundary: Any = None,
        source: Any = None,
        breakpoints: Any = None,
    ):
        """A reaction–diffusion equation.

        **Arguments:**

        - `grid`: where.
        - `diffusivity`: a positive number or an array of `grid.shape`; for several species a pytree of these, which
            says what the state looks like.
        - `reaction`: a function of the time, the coordinates (`grid.coordinates`) and the state that returns a pytree
            like the state: what is made per volume and time.
        - `boundary`: as for [`krylovpde.Diffusion`][]: one for all species, or a pytree like the state.
        - `source`: as for [`krylovpde.Diffusion`][]; for several species `None`, or a pytree like the state.
        - `breakpoints`: as for [`krylovpde.Semilinear`][], those of the reaction.

        **Raises:**

        `TypeError` for a reaction that cannot be called, `ValueError` for a source that does not match the species;
        those of [`krylovpde.Diffusion`][].
        """
        check_grid(grid, "ReactionDiffusion")
        if not callable(reaction):
            message = f"`ReactionDiffusion(reaction)` must be a function of (t, x, u), got {type(reaction)}."
            raise TypeError(message)
        self.grid = grid
        self.reaction = reaction
        self.jumps = as_breakpoints(breakpoints, "ReactionDiffusion(breakpoints)")
        leaves, container = jtu.tree_flatten(diffusivity)
        boundaries = _for_each(boundary, container, "boundary")
        sources = _for_each(source, container, "source")
        parts = zip(leaves, boundaries, sources, strict=True)
        self.species = jtu.tree_unflatten(container, [Diffusion(grid, d, boundary=b, source=s) for d, b, s in parts])

    @property
    def source(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        """As it was given, for each species."""
        return self._each(lambda species: species.source)

    def operator(self) -> lx.AbstractLinearOperator:
        """The diffusion of all species, with homogeneous boundary values."""
        operators = [species.operator() for species in self._list()]
        if self._is_single():
            return operators[0]
        rows = [[block if i == j else None for j in range(len(operators))] for i, block in enumerate(operators)]
        return BlockOperator(rows, like=self._each(lambda _: 0))

    def forcing(self) -> PyTree[Inexact[Array, "..."]] | None:
        """Constant sources and inflow through the walls; `None` where no species has any."""
        fields = [species.forcing() for species in self._list()]
        if all(field is None for field in fields):
            return None
        filled = [zero if field is None else field for field, zero in zip(fields, self._zeros(), strict=True)]
        return jtu.tree_unflatten(self._container(), filled)

    def driving(self) -> tuple[tuple[PyTree[Inexact[Array, "..."]], AbstractSignal], ...]:
        """The sources and boundary values that vary in time, each on all species."""
        zeros, found = self._zeros(), []
        for index, species in enumerate(self._list()):
            for profile, signal in species.driving():
                fields = [profile if other == index else zero for other, zero in enumerate(zeros)]
                found.append((jtu.tree_unflatten(self._container(), fields), signal))
        return tuple(found)

    @property
    def breakpoints(self) -> Real[Array, " breaks"]:
        """Those of sources and boundary values, and those that were named."""
        named = [] if self.jumps is None else [self.jumps]
        return merge_breakpoints([*(species.breakpoints for species in self._list()), *named])

    def nonlinear(self, t: Any, u: PyTree) -> PyTree[Inexact[Array, "..."]]:
        """The reaction."""
        if not self.grid.is_masked:
            return self.reaction(t, self.grid.coordinates, u)
        # A reaction need not be defined at zero: cells that are not active see the state of one that is.
        first = np.unravel_index(np.argmax(self.grid.active), self.grid.shape)
        seen = jtu.tree_map(lambda leaf: jnp.where(self.grid.active, leaf, leaf[first]), u)
        return only_active(self.grid, self.reaction(t, self.grid.coordinates, seen))

    def _list(self) -> list[Diffusion]:
        return jtu.tree_leaves(self.species, is_leaf=_is_species)

    def _container(self) -> Any:
        return jtu.tree_structure(self.species, is_leaf=_is_species)

    def _zeros(self) -> list[Array]:
        structures = [species.operator().in_structure() for species in self._list()]
        return [jnp.zeros(like.shape, like.dtype) for like in structures]

    def _is_single(self) -> bool:
        return isinstance(self.species, Diffusion)

    def _each(self, function: Callable[[Diffusion], Any]) -> Any:
        return jtu.tree_map(function, self.species, is_leaf=_is_species)


def _is_species(node: Any) -> bool:
    return isinstance(node, Diffusion)


def _for_each(value: Any, container: Any, name: str) -> list[Any]:
    """One for each species: a pytree like the state, or one for all."""
    if jtu.treedef_is_leaf(container):
        return [value]
    try:
        return list(container.flatten_up_to(value))
    except (ValueError, TypeError):
        if name == "source" and value is not None:
            message = f"`ReactionDiffusion({name})` of several species must be a pytree like `diffusivity`."
            raise ValueError(message) from None
    return [value] * container.num_leaves
