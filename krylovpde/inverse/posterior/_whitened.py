"""A model as a function of standard normal numbers."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.tree_util as jtu
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from ..fitting._driver import check_real
from ..regulariser import AbstractPrior


class WhitenedModel(eqx.Module):
    """`model = reference + L⁻¹ z` for a vector `z`, which is standard normal before the data are seen.

    - `parameters`, `fixed`: the free leaves of a model, and the rest.
    - `places`: for each prior the numbers of the free leaves that it speaks of, in its order.
    """

    priors: tuple[AbstractPrior, ...]
    parameters: PyTree
    fixed: PyTree
    places: tuple[tuple[int, ...], ...] = eqx.field(static=True)

    @property
    def estimate(self) -> PyTree:
        """The model itself."""
        return eqx.combine(self.parameters, self.fixed)

    def vector(self, model: PyTree) -> Float[Array, " n"]:
        """The numbers `z` of a model, prior after prior."""
        return ravel_pytree([prior.residual(model) for prior in self.priors])[0]

    def free(self, vector: Float[Array, " n"]) -> PyTree:
        """The free leaves for a vector; `None` stands where nothing is free."""
        leaves, structure = jtu.tree_flatten(self.parameters)
        values = [prior.selected(self.estimate) for prior in self.priors]
        unravel = ravel_pytree(values)[1]
        for prior, places, noise in zip(self.priors, self.places, unravel(vector), strict=True):
            for place, leaf in zip(places, jtu.tree_leaves(prior.colour(noise)), strict=True):
                leaves[place] = leaf
        return structure.unflatten(leaves)

    def model(self, vector: Float[Array, " n"]) -> PyTree:
        """The model for a vector."""
        return eqx.combine(self.free(vector), self.fixed)

    def prior_variance(self) -> PyTree | None:
        """Of each free number, like the free leaves; `None` where a prior does not know its own."""
        leaves, structure = jtu.tree_flatten(self.parameters)
        for prior, places in zip(self.priors, self.places, strict=True):
            variance = prior.variance(prior.selected(self.estimate))
            if variance is None:
                return None
            for place, leaf in zip(places, jtu.tree_leaves(variance), strict=True):
                leaves[place] = leaf
        return structure.unflatten(leaves)


def whitened_model(
    priors: AbstractPrior | Sequence[AbstractPrior], model: PyTree, trainable: Any, name: str
) -> WhitenedModel:
    """Check that priors and free leaves belong together.

    **Raises:** `TypeError` for something that is no prior, and complex unknowns; `ValueError` where a prior speaks of
    something that is not a free leaf, and where a free leaf has no prior or two.
    """
    listed = tuple(priors) if isinstance(priors, Sequence) else (priors,)
    for prior in listed:
        if not isinstance(prior, AbstractPrior):
            message = (
                f"{name}: {type(prior).__name__} is not a Gaussian prior. Give kp.inverse.BiLaplacian for a field, "
                "kp.inverse.Gaussian for numbers, or a list of these."
            )
            raise TypeError(message)
    parameters, fixed = eqx.partition(model, trainable)
    check_real(parameters, name)
    places = tuple(_places(prior, parameters, fixed, name) for prior in listed)
    _check_cover(parameters, places, name)
    return WhitenedModel(listed, parameters, fixed, places)


def _places(prior: AbstractPrior, parameters: PyTree, fixed: PyTree, name: str) -> tuple[int, ...]:
    """Which free leaves a prior selects: those that come out of its selection as the very objects that went in."""
    structure = jtu.tree_structure(parameters)
    found: list[int | None] = []

    def probe(leaves: list[Array]):
        selected = prior.selected(eqx.combine(structure.unflatten(leaves), fixed))
        for leaf in jtu.tree_leaves(selected):
            found.append(next((place for place, candidate in enumerate(leaves) if candidate is leaf), None))

    jax.eval_shape(probe, jtu.tree_leaves(parameters))
    places = tuple(place for place in found if place is not None)
    if len(places) < len(found) or not found:
        message = (
            f"{name}: {type(prior).__name__} speaks of something that is not a free leaf of the model. A prior of the "
            "posterior selects free numbers as they are stored, `lambda model: model.field.raw`, not values computed "
            "from them (`.value` of a Positive), and those that `trainable` leaves free."
        )
        raise ValueError(message)
    return places


def _check_cover(parameters: PyTree, places: tuple[tuple[int, ...], ...], name: str):
    paths = [jtu.keystr(path).lstrip(".") or "the model" for path, _ in jtu.tree_flatten_with_path(parameters)[0]]
    taken = [place for selected in places for place in selected]
    for place, path in enumerate(paths):
        if taken.count(place) != 1:
            message = (
                f"{name}: {path} is free and has {taken.count(place)} priors; every free leaf needs one. Where nothing "
                "is known give a kp.inverse.Gaussian with a standard deviation far beyond what the data leave open, or "
                "hold the leaf fixed (`trainable`)."
            )
            raise ValueError(message)
