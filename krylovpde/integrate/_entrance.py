"""What every entrance checks and casts before anything is compiled."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
import numpy as np
from jaxtyping import Array, PyTree

from ..action import (
    AbstractMethod,
    Arnoldi,
    Chebyshev,
    Contour,
    Dense,
    Faber,
    Lanczos,
    has_contour,
    has_known_imaginary_interval,
    has_known_range,
    has_known_spectrum,
)
from ..adjoint import (
    AbstractAdjoint,
    CheckpointedAdjoint,
    DirectAdjoint,
    IterationAdjoint,
    ReversibleAdjoint,
    TwoSidedAdjoint,
    check_pair,
)
from ..operator import (
    AbsorbedWaveOperator,
    BlockOperator,
    FluxOperator,
    PolynomialOperator,
    is_self_adjoint,
    is_skew_adjoint,
)


def check_square(operator: Any, where: str) -> None:
    """Raises for anything that is not a square linear operator."""
    if not isinstance(operator, lx.AbstractLinearOperator):
        hint = ""
        if hasattr(operator, "tocsr"):
            hint = " For a SciPy matrix use krylovpde.SparseOperator.from_scipy(matrix)."
        elif hasattr(operator, "ndim") and getattr(operator, "ndim", 0) == 2:
            hint = " For a dense matrix use lineax.MatrixLinearOperator(matrix)."
        elif callable(operator):
            hint = " For a function use lineax.FunctionLinearOperator(function, jax.eval_shape(lambda: vector))."
        message = f"`operator` of {where} must be a lineax.AbstractLinearOperator, got {type(operator)}.{hint}"
        raise TypeError(message)
    rows, columns = operator.out_structure(), operator.in_structure()
    same = jtu.tree_structure(rows) == jtu.tree_structure(columns) and all(
        a.shape == b.shape for a, b in zip(jtu.tree_leaves(rows), jtu.tree_leaves(columns), strict=True)
    )
    if not same:
        message = f"`operator` of {where} must be square, but maps {_describe(columns)} to {_describe(rows)}."
        raise ValueError(message)


def as_field(value: PyTree, structure: PyTree, name: str) -> PyTree[Array]:
    """`value` as inexact arrays of the operator's input shapes; its own precision stays."""
    if jtu.tree_structure(value) != jtu.tree_structure(structure):
        message = (
            f"`{name}` must be a pytree like the operator's input, {_describe(structure)}, got "
            f"{jtu.tree_structure(value)}."
        )
        raise ValueError(message)

    def convert(leaf: Any, like: Any) -> Array:
        if not eqx.is_array_like(leaf):
            message = f"`{name}` must consist of arrays, got {type(leaf)}."
            raise TypeError(message)
        array = jnp.asarray(leaf)
        if not jnp.issubdtype(array.dtype, jnp.inexact):
            array = array.astype(jnp.result_type(float))
        if array.shape != like.shape:
            message = f"`{name}` must have the operator's input shape {like.shape}, got {array.shape}."
            raise ValueError(message)
        return array

    return jtu.tree_map(convert, value, structure)


def cast_like(value: PyTree[Array], dtype: Any) -> PyTree[Array]:
    """Every leaf in `dtype`, complex ones in its complex counterpart."""
    return jtu.tree_map(lambda leaf: leaf.astype(np.result_type(dtype, leaf.dtype)), value)


def common_state(operator: lx.AbstractLinearOperator, fields: tuple[PyTree[Array], ...]) -> tuple[PyTree[Array], ...]:
    """All components in the first one's precision; complex where the operator makes them so."""
    real = real_dtype(fields[0])
    lead = np.result_type(*(np.result_type(real, _kind(leaf.dtype, real)) for leaf in jtu.tree_leaves(fields)))
    # Told by the operator, not tried: a complex matrix times a real vector raises under strict promotion.
    told = jtu.tree_leaves((operator.in_structure(), operator.out_structure()))
    if any(jnp.issubdtype(leaf.dtype, jnp.complexfloating) for leaf in told):
        lead = np.result_type(real, np.complex64)
    return jtu.tree_map(lambda leaf: leaf.astype(lead), fields)


def _kind(dtype: Any, real: Any) -> Any:
    return np.result_type(real, np.complex64) if jnp.issubdtype(dtype, jnp.complexfloating) else real


def real_dtype(value: PyTree[Array]) -> np.dtype:
    """The precision of a pytree, as a real dtype."""
    return np.finfo(np.result_type(*(leaf.dtype for leaf in jtu.tree_leaves(value)))).dtype


def as_times(times: Any, dtype: Any, name: str) -> tuple[Array, bool]:
    """A 1-D array of times in the state's precision, and whether one number was given."""
    if not eqx.is_array_like(times) and not isinstance(times, list | tuple):
        message = f"`{name}` must be a number or a 1-D array, got {type(times)}."
        raise TypeError(message)
    array = jnp.asarray(times)
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        message = f"`{name}` must be real, got dtype {array.dtype}."
        raise TypeError(message)
    if array.ndim > 1 or array.size == 0:
        message = f"`{name}` must be a number or a non-empty 1-D array, got shape {array.shape}."
        raise ValueError(message)
    return jnp.atleast_1d(array).astype(dtype), array.ndim == 0


def tolerances(rtol: Any, atol: Any, dtype: Any) -> tuple[float, float]:
    """The tolerance as static numbers: 1e-6 in double, 1e-4 in single precision by default."""
    eps = float(np.finfo(dtype).eps)
    rtol = (1e-4 if eps > 1e-10 else 1e-6) if rtol is None else _static(rtol, "rtol")
    atol = _static(atol, "atol")
    if not rtol >= 10 * eps:
        message = (
            f"`rtol` is {rtol}, below ten units of rounding of {np.dtype(dtype).name}, {10 * eps:.1e}: no computation "
            "in this precision can reach it. Use a larger rtol, or float64."
        )
        raise ValueError(message)
    if not atol >= 0:
        message = f"`atol` must not be negative, but is {atol}."
        raise ValueError(message)
    return rtol, atol


def _static(value: Any, name: str) -> float:
    try:
        return float(value)
    except Exception as error:
        message = f"`{name}` must be a number that is known when tracing, got {value}."
        raise TypeError(message) from error


# Those that messages name; every method has one of them.
_ADJOINTS = (TwoSidedAdjoint(), ReversibleAdjoint(), CheckpointedAdjoint(), IterationAdjoint(), DirectAdjoint())


def choose(
    operator: lx.AbstractLinearOperator,
    order: int,
    method: Any,
    adjoint: Any,
    *,
    onwards: bool = False,
    driven: bool = False,
) -> tuple[AbstractMethod, AbstractAdjoint]:
    """The method and the adjoint: as given, or by the operator's tags (static facts only).

    `onwards`: time only goes forwards. `driven`: there are sources that vary in time.
    """
    if method is None:
        method = method_when_driven(operator, order) if driven else _method_for(operator, order, onwards, adjoint)
        if method is None:
            message = (
                "sources that vary in time are served by `Chebyshev()`, for self-adjoint operators with a known "
                "spectral bound, and by `Faber()`, for equations of first order with a known numerical range. Neither "
                f"is known for {type(operator).__name__}: tell a bound with `krylovpde.annotate(...)`, or take steps "
                "of an integrator, `method=krylovpde.ETDRK4()`."
            )
            raise ValueError(message)
    if not isinstance(method, AbstractMethod):
        message = (
            "`method` must be None or one of Arnoldi(), Lanczos(), Chebyshev(), Faber(), Contour(), ShiftInvert(), "
            "Dense(), "
            f"got {method!r}."
        )
        raise TypeError(message)
    if adjoint is None:
        adjoint = _adjoint_for(method)
    if not isinstance(adjoint, AbstractAdjoint):
        message = (
            "`adjoint` must be None or one of TwoSidedAdjoint(), ReversibleAdjoint(), CheckpointedAdjoint(), "
            f"IterationAdjoint(), DirectAdjoint(), got {adjoint!r}."
        )
        raise TypeError(message)
    if driven and not isinstance(method, Chebyshev | Faber):
        message = (
            f"`method={method.name}()` does not serve sources that vary in time; `Chebyshev()` and `Faber()` do, and "
            "integrators such as `ETDRK4()`."
        )
        raise ValueError(message)
    method.check(operator)
    if order == 2 and isinstance(method, Lanczos | Chebyshev) and not is_self_adjoint(operator):
        message = f"`method={method.name}()` serves an equation of second order only if its operator is self-adjoint."
        raise ValueError(message)
    if order == 2 and isinstance(method, Faber | Contour):
        message = f"`method={method.name}()` serves equations of first order in time only."
        raise ValueError(message)
    check_pair(method, adjoint, _ADJOINTS)
    return method, adjoint


def _method_for(operator: lx.AbstractLinearOperator, order: int, onwards: bool, adjoint: Any) -> AbstractMethod:
    """The rule of `method=None`: static facts only (docs: How to choose)."""
    even = onwards and _is_even(operator)
    if order == 1 and onwards and wants_contour(operator) and isinstance(adjoint, DirectAdjoint | None):
        return Contour()
    if is_self_adjoint(operator):
        # The degree of a polynomial grows with the largest eigenvalue: a space can leave outliers out, as graded grids
        # have them. Waves on those are bound by the same eigenvalues, whatever the method.
        # Backwards in time a polynomial for the whole spectrum is drowned by modes that smooth data do not have.
        return Chebyshev() if even or (order == 2 and has_known_spectrum(operator)) else Lanczos()
    if order == 1 and is_skew_adjoint(operator):
        # Nothing grows in either direction. With the interval known, a polynomial took 0.9 to 2.6 times as many
        # applications as a space, and a fourth to a twentieth of its time (64 x 64 cells, 1e-6 and 1e-10).
        return Chebyshev() if has_known_imaginary_interval(operator) else Lanczos()
    if isinstance(operator, AbsorbedWaveOperator) and onwards:
        return Faber() if has_known_range(operator) else Arnoldi()
    # Onwards in time a stencil with transport has nothing to grow by but what its ellipse tells.
    carried = even and isinstance(operator, FluxOperator) and operator.has_transport
    return Faber() if order == 1 and carried and has_known_range(operator) else Arnoldi()


def wants_contour(operator: lx.AbstractLinearOperator) -> bool:
    """Graded and radial grids around a well: stiffness over ten decades, which only solves get past."""
    return has_contour(operator) and not _is_even(operator)


def _is_even(operator: lx.AbstractLinearOperator) -> bool:
    """Whether it is a stencil on a uniform grid, or made of such: multiples, sums, polynomials, several species."""
    if isinstance(operator, FluxOperator):
        return all(map(operator.grid.is_uniform, range(operator.grid.ndim)))
    if isinstance(operator, lx.NegLinearOperator | lx.MulLinearOperator | lx.DivLinearOperator | PolynomialOperator):
        return _is_even(operator.operator)
    if isinstance(operator, lx.AddLinearOperator):
        return _is_even(operator.operator1) and _is_even(operator.operator2)
    if isinstance(operator, BlockOperator) and operator.is_block_diagonal:
        blocks = (block for row in operator.blocks for block in row if block is not None)
        return all(map(_is_even, blocks))
    return False


def method_when_driven(operator: lx.AbstractLinearOperator, order: int) -> AbstractMethod | None:
    """The action that serves sources that vary in time; `None` where only steps of an integrator do."""
    if (is_self_adjoint(operator) or (order == 1 and is_skew_adjoint(operator))) and has_known_spectrum(operator):
        return Chebyshev()
    return Faber() if order == 1 and has_known_range(operator) else None


def _adjoint_for(method: AbstractMethod) -> AbstractAdjoint:
    if isinstance(method, Dense | Contour):
        return DirectAdjoint()
    if isinstance(method, Faber):
        return CheckpointedAdjoint()
    return ReversibleAdjoint() if isinstance(method, Chebyshev) else TwoSidedAdjoint()


def _describe(structure: PyTree) -> str:
    leaves = [f"{np.dtype(leaf.dtype).name}{list(leaf.shape)}" for leaf in jtu.tree_leaves(structure)]
    return leaves[0] if len(leaves) == 1 else "(" + ", ".join(leaves) + ")"
