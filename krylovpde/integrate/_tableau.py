r"""Exponential Runge–Kutta methods as tables of rational numbers.

With `u' = M u + g(t, u)`, `g_1 = g(t, u)`, `g_t = ∂g/∂t` where it is taken (Rosenbrock), and the differences
`D_j = g(t + c_j h, U_j) - g_1 - c_j h g_t`, every row of a method is

    U_i = exp(c_i h M) u + c_i h φ_1(c_i h M) g_1 + (c_i h)² φ_2(c_i h M) g_t + h Σ_k φ_k(c_i h M) Σ_j w_ikj D_j ,

one linear combination of φ-functions with one duration. The last two rows are the result and the estimate of its error;
that one is made of the differences alone, and may use the result as a further stage.

Stages at one time say nothing about how `g` moves in between: were `g` a function of time alone, the difference of two
stages at `t + h` would be zero, whatever the error. So the error may have a term more, called stage 0: a divided
difference `Σ_p w_p (g(t + p h, u) - g_1)` in time, with the state kept.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

# φ_k: {stage: weight}. Stage 1 is the start of the step, whose difference is zero.
Weights = Mapping[int, Mapping[int, float]]


@dataclass(frozen=True, eq=False)
class Tableau:
    """`rows`: (node c, weights) of the stages 2, 3, ..., of the result, and of the error.

    `order` of the result, `error_order`: the error estimate is of size `h^error_order` for smooth solutions.
    `in_time`: the places p and weights of the divided difference that the error's stage 0 is.
    """

    rows: tuple[tuple[float, Weights], ...]
    order: int
    error_order: int
    in_time: tuple[tuple[float, float], ...] = ()

    @property
    def nodes(self) -> np.ndarray:
        """`c` of each row."""
        return np.array([node for node, _ in self.rows])

    @property
    def weights(self) -> np.ndarray:
        """`w[row, k, j]`, with `k` the index of φ and `j` that of the stage, counted from 1."""
        highest = max(k for _, weights in self.rows for k in weights)
        table = np.zeros((len(self.rows), highest + 1, len(self.rows) + 1))
        for row, (_, weights) in enumerate(self.rows):
            for k, stages in weights.items():
                for stage, weight in stages.items():
                    table[row, k, stage] = weight
        return table


# Its error is the difference to Cox and Matthews' method of order two.
EXPONENTIAL_EULER_TABLEAU = Tableau(rows=((1.0, {1: {1: 0.0}}), (1.0, {2: {2: 1.0}})), order=1, error_order=2)

# Cox and Matthews (2002), equation 22; the error is the difference to the same rule with the result as second stage.
# What the line through 0 and 1 leaves of g is τ (τ - 1) times its divided difference at 0, 1/2, 1: 2 φ_3 - φ_2.
ETDRK2_TABLEAU = Tableau(
    rows=((1.0, {1: {1: 0.0}}), (1.0, {2: {2: 1.0}}), (1.0, {2: {0: -1.0, 2: -1.0, 3: 1.0}, 3: {0: 2.0}})),
    order=2,
    error_order=3,
    in_time=((0.5, -4.0), (1.0, 2.0)),
)

# Krogstad (2005), the weights of Cox and Matthews with better inner stages. The error compares with the same weights on
# the result instead of the fourth stage, which have order three. What the parabola through 0, 1/2, 1 leaves of g is
# τ (τ - 1/2) (τ - 1) times its divided difference at 0, 1/4, 1/2, 1, and its integral over one half of the step 1/64.
ETDRK4_TABLEAU = Tableau(
    rows=(
        (0.5, {1: {1: 0.0}}),
        (0.5, {2: {2: 1.0}}),
        (1.0, {2: {3: 2.0}}),
        (1.0, {2: {2: 2.0, 3: 2.0, 4: -1.0}, 3: {2: -4.0, 3: -4.0, 4: 4.0}}),
        (1.0, {1: {0: 1.0 / 64.0}, 2: {4: 1.0, 5: -1.0}, 3: {4: -4.0, 5: 4.0}}),
    ),
    order=4,
    error_order=4,
    in_time=((0.25, 64.0 / 3.0), (0.5, -16.0), (1.0, 8.0 / 3.0)),
)

# exprb43 of Hochbruck, Ostermann and Schweitzer (2009), with its embedded result of order three.
ROSENBROCK_TABLEAU = Tableau(
    rows=(
        (0.5, {1: {1: 0.0}}),
        (1.0, {1: {2: 1.0}}),
        (1.0, {3: {2: 16.0, 3: -2.0}, 4: {2: -48.0, 3: 12.0}}),
        (1.0, {4: {2: -48.0, 3: 12.0}}),
    ),
    order=4,
    error_order=4,
)
