"""How a validation loss changes with the hyperparameters of the loss that was minimised."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Float, Int, PyTree, Scalar

from ..._solution import RESULTS, first_failure, raise_unless_successful
from ._base import AbstractInverse
from ._coordinates import coordinates
from ._curvature import AbstractHessian, ExactHessian
from ._low_rank import LowRankInverse
from ._nystrom import Nystrom


class HypergradientStats(eqx.Module):
    """What a hypergradient cost, and how far to believe it.

    - `products`: products with the Hessian that the method made. What methods are compared by.
    - `residual`: `|(H + ρ I) x - g| / |g|` of the method's answer, from one more product (which is left out of the
      program where nobody reads this). It says how well the system *with* `ρ` or damping was solved.
    - `gradient_norm`: `|∂inner/∂θ|` at the solution, in the inner product where there is one. The formula holds at a
      minimum.
    - `result`: a failure where the Hessian is not positive definite or the series diverges.
    """

    products: Int[Array, ""]
    residual: Float[Array, ""]
    gradient_norm: Float[Array, ""]
    result: RESULTS


def hypergradient(
    outer: Callable[[Any], Scalar],
    inner: Any,
    solution: PyTree,
    method: AbstractInverse,
    *,
    trainable: Any = eqx.is_inexact_array,
    hyperparameters: Any = eqx.is_inexact_array,
    curvature: AbstractHessian | None = None,
    inner_product: Any = None,
    throw: bool = True,
    with_stats: bool = False,
) -> Any:
    r"""The derivative of a validation loss at the minimum of an inner loss, in the inner loss's own numbers.

    With $\theta^*(\varphi) = \arg\min_\theta \text{inner}_\varphi(\theta)$, the implicit function theorem gives

    $$\frac{\mathrm d}{\mathrm d\varphi}\, \text{outer}(\theta^*(\varphi)) = - \Big(
      \frac{\partial^2 \text{inner}}{\partial\theta\, \partial\varphi} \Big)^{\!\top} (H + \rho R^{-1})^{-1}
      \frac{\partial\, \text{outer}}{\partial\theta}, \qquad H = \frac{\partial^2 \text{inner}}{\partial\theta^2},$$

    where `method` approximates the inverse: without a shift for `ConjugateGradient()` and `Neumann`, with `ρ` for
    `Nystrom`. `R` is the identity, or the Riesz map of `inner_product`.

    A loss is an Equinox module, and its hyperparameters are its inexact arrays: the weight of a `Tikhonov`, the `sigma`
    of a `LeastSquares`, the `correlation_length` of a `BiLaplacian` (data and initial states, too: choose with
    `hyperparameters`). A plain function with numbers is `jax.tree_util.Partial(function, numbers)`. Python's floats are
    no leaves: make them arrays. Weights that must stay positive are held as logarithms.

    If `outer` depends on the hyperparameters itself, add its own derivative: what is given here is the part that goes
    through the solution.

    **Arguments:**

    - `outer`: `outer(model)`, the validation loss.
    - `inner`: `inner(model)`, a pytree that can be called: the loss that was minimised.
    - `solution`: the model at which it is minimal, as `kp.inverse.fit` returns it. The formula is as wrong as this is
        from a minimum.
    - `method`: `ConjugateGradient(...)`, `Nystrom(...)`, `Neumann(...)`, or a `LowRankInverse` from `low_rank_inverse`.
    - `trainable`: which leaves of the solution are free, as in `fit`.
    - `hyperparameters`: which leaves of `inner` to differentiate in: a predicate, or a pytree of booleans like it.
    - `curvature`: `ExactHessian()` (if `None`), or `GaussNewtonHessian()` for sums of squares.
    - `inner_product`: of the free unknowns: `L2`, `H1`, `CameronMartin` for fields, one for all leaves or a pytree of
        them (with `None` where Euclid will do). Methods work in coordinates that are orthonormal in it. A prior's makes
        the number of steps, or the rank, independent of the mesh.
    - `throw`: whether a failure raises; else the numbers are returned as they are, and only the stats tell.
    - `with_stats`: whether to return `HypergradientStats`, too.

    **Returns:** a pytree like `inner`, with `None` where it is not differentiated: what `eqx.filter_grad` gives, ready
    for optax and `eqx.apply_updates`. With `with_stats=True` a pair of it and the `HypergradientStats`.

    **Raises:** `ValueError` for a loss without hyperparameters, a solution without free leaves, and losses that are not
    scalar; `TypeError` for complex unknowns, and a Gauss–Newton Hessian of what is no sum of squares; with `throw` the
    failures of the methods.

    !!! Example

        ```python
        loss = kp.inverse.LeastSquares(predict, data, sigma) + kp.inverse.Tikhonov(grid, field, jnp.asarray(0.1))
        model = kp.inverse.fit(loss, start, kp.inverse.GaussNewton()).model
        method = kp.inverse.ConjugateGradient(30)
        gradient = kp.inverse.hypergradient(validation, loss, model, method, curvature=GaussNewtonHessian())
        gradient.terms[1].weight  # d validation / d weight
        ```

    Source: Bengio, *Gradient-based optimization of hyperparameters*, Neural Computation 12 (2000); Hataya, Yamada,
    *Nyström method for accurate and scalable implicit differentiation*, AISTATS 2023.
    """
    if not isinstance(method, AbstractInverse):
        message = (
            "hypergradient: method must be a ConjugateGradient(...), Nystrom(...), Neumann(...) or LowRankInverse of "
            f"krylovpde.inverse, got {method!r}."
        )
        raise TypeError(message)
    hyper, rest = _hyperparameters(inner, hyperparameters)
    free, fixed = _unknowns(solution, trainable)
    for name, loss in (("outer", outer), ("inner", inner)):
        _check_scalar(name, loss, solution)
    curvature = ExactHessian() if curvature is None else curvature
    gradient, stats = _compute(outer, (hyper, rest), (free, fixed), method, curvature, inner_product)
    if throw:
        gradient = raise_unless_successful(stats.result, gradient)
    return (gradient, stats) if with_stats else gradient


def low_rank_inverse(
    inner: Any,
    solution: PyTree,
    method: Nystrom,
    *,
    trainable: Any = eqx.is_inexact_array,
    curvature: AbstractHessian | None = None,
    inner_product: Any = None,
) -> LowRankInverse:
    """The factorisation that a `Nystrom` makes of the Hessian, as a method for hypergradients that makes no products.

    For several validation losses at one solution, and for outer steps between which the Hessian changes little: what
    one step pays serves the next ones. It costs `rank` products (and those of the choice of columns) in one batch.

    **Arguments:** as for `hypergradient`.

    - `method`: a `Nystrom` without `block_size`.

    **Returns:** a `LowRankInverse`. Use it with the same `trainable`, `curvature` and `inner_product`.

    **Raises:** as `hypergradient`; `ValueError` for a `Nystrom` that works in blocks.
    """
    if not isinstance(method, Nystrom):
        message = f"low_rank_inverse: only a Nystrom makes a factorisation, got {method!r}."
        raise TypeError(message)
    if method.block_size is not None:
        message = "low_rank_inverse: a Nystrom with block_size keeps nothing that could be used again; leave it out."
        raise ValueError(message)
    free, fixed = _unknowns(solution, trainable)
    return _factor(inner, free, fixed, method, ExactHessian() if curvature is None else curvature, inner_product)


@eqx.filter_jit
def _compute(
    outer: Callable[[Any], Scalar],
    inner: tuple[PyTree, PyTree],
    solution: tuple[PyTree, PyTree],
    method: AbstractInverse,
    curvature: AbstractHessian,
    inner_product: Any,
) -> tuple[PyTree, HypergradientStats]:
    (hyper, rest), (free, fixed) = inner, solution
    loss = eqx.combine(hyper, rest)
    frame = coordinates(free, inner_product)
    apply = curvature.product(loss, free, fixed)
    vector = frame.analyse(jax.grad(lambda unknowns: outer(eqx.combine(unknowns, fixed)))(free))

    def product(y: Array) -> Array:
        return frame.analyse(apply(frame.synthesise(y)))

    found = method.solve(product, vector)
    direction = frame.synthesise(found.value)

    def slope(numbers: PyTree) -> Scalar:
        at = eqx.combine(numbers, rest)
        return -jax.jvp(lambda unknowns: at(eqx.combine(unknowns, fixed)), (free,), (direction,))[1]

    gradient = jax.grad(slope)(hyper)
    residual = product(found.value) + method.shift.astype(vector.dtype) * found.value - vector
    size = jnp.linalg.norm(vector)
    own = frame.analyse(jax.grad(lambda unknowns: loss(eqx.combine(unknowns, fixed)))(free))
    finite = jnp.all(jnp.isfinite(found.value))
    result = first_failure([found.result, RESULTS.where(finite, RESULTS.successful, RESULTS.nonfinite)])
    relative = jnp.linalg.norm(residual) / jnp.where(size > 0, size, 1)
    return gradient, HypergradientStats(found.products, relative, jnp.linalg.norm(own), result)


@eqx.filter_jit
def _factor(
    inner: Any, free: PyTree, fixed: PyTree, method: Nystrom, curvature: AbstractHessian, inner_product: Any
) -> LowRankInverse:
    frame = coordinates(free, inner_product)
    apply = curvature.product(inner, free, fixed)
    return method.factor(lambda y: frame.analyse(apply(frame.synthesise(y))), frame.analyse(free))


def _hyperparameters(inner: Any, chosen: Any) -> tuple[PyTree, PyTree]:
    hyper, rest = eqx.partition(inner, chosen)
    leaves = jtu.tree_leaves(hyper)
    if not leaves:
        message = (
            f"hypergradient: the inner loss, a {type(inner).__name__}, has no hyperparameters. They are its leaves "
            "that are JAX arrays of floats: make a weight `jnp.asarray(0.1)`, wrap a plain function as "
            "`jax.tree_util.Partial(function, numbers)`, or check `hyperparameters`."
        )
        raise ValueError(message)
    wrong = [leaf for leaf in leaves if not (eqx.is_inexact_array(leaf) or isinstance(leaf, float))]
    if wrong:
        message = (
            f"hypergradient: hyperparameters selects a leaf that has no derivative, {wrong[0]!r}. Select arrays of "
            "floats only."
        )
        raise TypeError(message)
    return hyper, rest


def _unknowns(solution: PyTree, trainable: Any) -> tuple[PyTree, PyTree]:
    free, fixed = eqx.partition(solution, trainable)
    leaves = jtu.tree_leaves(free)
    if not leaves:
        message = (
            "hypergradient: the solution has no free leaves. Its unknowns are JAX arrays of floats; check `trainable`."
        )
        raise ValueError(message)
    if any(jnp.iscomplexobj(leaf) for leaf in leaves):
        message = (
            "hypergradient: a free leaf of the solution is complex. Hold its real and imaginary part as two leaves."
        )
        raise TypeError(message)
    return jtu.tree_map(jnp.asarray, free), fixed


def _check_scalar(name: str, loss: Any, solution: PyTree):
    found = eqx.filter_eval_shape(loss, solution)
    if getattr(found, "shape", None) != () or not jnp.issubdtype(found.dtype, jnp.floating):
        message = f"hypergradient: {name}(solution) must be one real number, but gave {found}."
        raise ValueError(message)
