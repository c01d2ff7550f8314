"""Facts about an operator that its user states and nobody guesses from numbers.

lineax's tags speak of the Euclidean inner product `yᵀ x`. These speak of the operator's own,

    <x, y> = conj(x) · M · y,          M = diag(weight),

in which finite-volume operators on graded and radial grids are self-adjoint and complex Hermitian ones are too.
"""

import lineax as lx


class _Tag:
    def __init__(self, name: str):
        self.name = name

    def __repr__(self) -> str:
        return self.name


self_adjoint_tag = _Tag("self_adjoint_tag")
"""`<x, A y> = <A x, y>` in the operator's weight: real spectrum, orthogonal eigenvectors."""

skew_adjoint_tag = _Tag("skew_adjoint_tag")
"""`<x, A y> = -<A x, y>` in the operator's weight: imaginary spectrum, orthogonal eigenvectors, `exp(tA)` unitary."""

STRUCTURE_TAGS = frozenset({self_adjoint_tag, skew_adjoint_tag})


# lineax drops the tags it does not know when one of its operators is transposed, unless a rule says what becomes of
# them. `Aᵀ` is self-adjoint where `A` is: in the same Euclidean product, complex or not.
@lx.transpose_tags_rules.append
def _(tags: frozenset[object]) -> object:
    return self_adjoint_tag if self_adjoint_tag in tags else None


@lx.transpose_tags_rules.append
def _(tags: frozenset[object]) -> object:
    return skew_adjoint_tag if skew_adjoint_tag in tags else None
