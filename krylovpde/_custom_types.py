"""The vocabulary of the package's annotations, defined once.

Dimension letters, where they stand in a shape:

* `n` a number of points, unknowns or sensors; `rows`, `columns` of a matrix;
* `dimension` the number of space coordinates;
* `times` a number of output times;
* `...` the shape of a field (`grid.shape`), or of a face of it.
"""

from collections.abc import Sequence
from typing import TypeAlias

import jax
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Inexact, PyTree, Real

ArrayOrNumPy: TypeAlias = Array | np.ndarray
"""A JAX or a NumPy array: geometry is NumPy (concrete also under `jit`), parameters are JAX."""

Field: TypeAlias = PyTree[Inexact[ArrayOrNumPy, "..."]]
"""The unknowns of one state: usually an array of `grid.shape`, in general any pytree of arrays."""

FieldLike: TypeAlias = PyTree[ArrayLike]
"""What a user may pass where a field is meant: numbers, lists are not, NumPy and JAX arrays are."""

Weight: TypeAlias = PyTree[Real[ArrayOrNumPy, "..."]] | None
"""A diagonal weight of an inner product: real arrays like the field, or `None` for the Euclidean product."""

RealScalar: TypeAlias = Float[ArrayOrNumPy, ""]
"""A real number as an array of shape `()`."""

Number: TypeAlias = int | float | np.integer | np.floating
"""A real number that is known while Python runs: geometry, not a parameter."""

Numbers: TypeAlias = Sequence[Number] | np.ndarray
"""A list of such numbers."""

Mask: TypeAlias = Bool[ArrayOrNumPy, "..."]
"""Which cells of a grid belong to the domain: booleans of `grid.shape`, known while Python runs."""

Structure: TypeAlias = PyTree[jax.ShapeDtypeStruct]
"""The shapes and dtypes of a field."""
