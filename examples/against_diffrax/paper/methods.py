"""The methods: each from `(p², state)` to the state at the end, differentiable in both, with its work.

Work is counted in products with `A` (one stencil, whatever the form), forward and backward apart. A product with the
transpose, and a vector–Jacobian product with respect to the parameters, count as one each, and as one together where
one call of `vjp` gives both.
"""

import functools as ft
import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax.scipy.linalg import expm
from jaxtyping import Array

import krylovpde as kp

from .stencils import Case
from .two_sided import combine, two_sided

Solve = Callable[[Array, kp.WaveState], kp.WaveState]


class Work(NamedTuple):
    """Products with `A` for the value, and for the gradient after it: recomputed, transposed or `vjp`, parameters."""

    forward: int
    recomputed: int
    transposed: int
    parameters: int

    @property
    def backward(self) -> int:
        """All of them."""
        return self.recomputed + self.transposed + self.parameters


class Method(NamedTuple):
    """A method with its settings. `work`: after a run, from the squared coefficient and the state."""

    name: str
    setting: str
    solve: Solve
    work: Callable[[Array, kp.WaveState], Work]


def discrete_adjoint(case: Case, depth: int) -> Method:
    """Their method: Arnoldi with full reorthogonalisation, its adjoint system, by `kp.arnoldi`."""

    def solve(squared: Array, state: kp.WaveState) -> kp.WaveState:
        space = kp.arnoldi(case.first_order(squared), state, depth)
        return combine(space.basis, space.norm * expm(case.horizon * space.matrix)[:, 0])

    return Method("Arnoldi, discrete adjoint", f"depth {depth}", solve, fixed_work(depth, depth))


def matfree_adjoint(case: Case, depth: int) -> Method:
    """The same by matfree, which its authors publish."""
    decomp = importlib.import_module("matfree.decomp")

    def product(state: kp.WaveState, squared: Array) -> kp.WaveState:
        return case.equation(squared).vector_field(0.0, state)

    def solve(squared: Array, state: kp.WaveState) -> kp.WaveState:
        factorise = decomp.hessenberg(depth, reortho="full")
        basis, matrix, _, reciprocal = factorise(product, state, squared)
        coefficients = expm(case.horizon * matrix)[:, 0] / reciprocal
        return jtu.tree_map(lambda rows: jnp.tensordot(coefficients, rows, axes=1), basis)

    return Method("matfree, discrete adjoint", f"depth {depth}", solve, fixed_work(depth, depth))


def has_matfree() -> bool:
    """Whether it is installed."""
    return importlib.util.find_spec("matfree") is not None


def two_sided_fixed(case: Case, depth: int) -> Method:
    """Ours with the dimension fixed, as theirs is."""
    return Method(
        "krylovpde, two-sided, fixed",
        f"depth {depth}",
        ft.partial(two_sided, case, depth),
        fixed_work(depth, depth, depth),
    )


def runge_kutta(case: Case, solver: str, adjoint: str, steps: int) -> Method:
    """Diffrax with constant steps; `adjoint`: `backsolve` or `checkpoints`."""
    strategies = {"backsolve": diffrax.BacksolveAdjoint, "checkpoints": diffrax.RecursiveCheckpointAdjoint}
    integrator = getattr(diffrax, solver)()
    # The last stage of a step is the first of the next; the very first is one more.
    again = int(integrator.tableau.fsal)
    stages = steps * (integrator.tableau.num_stages - again) + again
    # Backwards each stage is one vector field and one vjp: of the augmented system for `backsolve`, where this is what
    # runs; of the step taken again from a checkpoint, where it is the least that can be, in its favour: a callback in
    # the vector field was called 44 times where this says 19 (Tsit5, 3 steps).
    work = Work(stages, stages, stages, 0)

    def solve(squared: Array, state: kp.WaveState) -> kp.WaveState:
        zero, end = (jnp.asarray(t, squared.dtype) for t in (0.0, case.horizon))
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(ft.partial(vector_field, case)),
            integrator,
            zero,
            end,
            end / steps,
            state,
            args=squared,
            adjoint=strategies[adjoint](),
            max_steps=steps + 2,
        )
        return jtu.tree_map(lambda leaf: leaf[0], solution.ys)

    return Method(f"{solver}, {adjoint}", f"{steps} steps", solve, always(work))


def vector_field(case: Case, t: Any, state: kp.WaveState, squared: Array) -> kp.WaveState:
    """`(v, A u)`, as Diffrax calls it."""
    return case.equation(squared).vector_field(t, state)


def default(case: Case, rtol: float, method: Any = None) -> Method:
    """`kp.solve` on `u_tt = A u`: the form that the equation has."""

    def solve(squared: Array, state: kp.WaveState) -> kp.WaveState:
        return kp.solve(case.equation(squared), state, case.horizon, rtol=rtol, method=method).value

    def work(squared: Array, state: kp.WaveState) -> Work:
        stats = kp.solve(case.equation(squared), state, case.horizon, rtol=rtol, method=method).stats
        forward = int(stats.applications)
        # The recurrence run back: Clenshaw's products, the vectors made again but the two starts, the parameters.
        return Work(forward, forward - 2, forward, forward)

    return Method("krylovpde, second order", f"rtol {rtol:.0e}", solve, work)


def krylov(case: Case, rtol: float, dimension: int | None = None, max_steps: int | None = None) -> Method:
    """`kp.expm_multiply` on the first-order form: Arnoldi, as large as the tolerance asks, and the two-sided adjoint.

    For a backward pass the march keeps some states and a few bases, in buffers that are filled with zeros at every
    call, where a dozen of products may suffice. So whoever knows that few steps are needed says so.
    """
    options = {"rtol": rtol, "method": kp.Arnoldi(dimension), "max_steps": max_steps}

    def solve(squared: Array, state: kp.WaveState) -> kp.WaveState:
        return kp.expm_multiply(case.first_order(squared), state, case.horizon, **options).value

    def work(squared: Array, state: kp.WaveState) -> Work:
        operator = case.first_order(squared)
        stats = kp.expm_multiply(operator, state, case.horizon, **options).stats
        # The cotangent of a solution of the same size: its own space has the same dimension, or nearly.
        back = kp.pullback(operator, state, case.horizon, state, **options).stats
        again = max(int(back.applications) - int(stats.applications), 0)
        return Work(int(stats.applications), again, int(back.transpose_applications), int(back.parameter_vjps))

    room = "" if dimension is None else f", at most {dimension} vectors, {max_steps} steps"
    return Method("krylovpde, first order", f"rtol {rtol:.0e}{room}", solve, work)


def fixed_work(forward: int, transposed: int, parameters: int = 0) -> Callable[[Array, kp.WaveState], Work]:
    """The work of a fixed number of products."""
    return always(Work(forward, 0, transposed, parameters))


def always(work: Work) -> Callable[[Array, kp.WaveState], Work]:
    """Work that does not depend on the data."""

    def told(squared: Array, state: kp.WaveState) -> Work:
        del squared, state
        return work

    return told
