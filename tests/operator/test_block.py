"""Operators of blocks: action, structure, bounds, bad input."""

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

from krylovpde.grid import Dirichlet, Grid
from krylovpde.operator import (
    BlockOperator,
    Laplacian,
    SparseOperator,
    is_self_adjoint,
    is_skew_adjoint,
    skew_adjoint_tag,
    spectral_bound,
)

RNG = np.random.default_rng(0)
A, B, C = (RNG.normal(size=shape) for shape in [(3, 3), (3, 2), (2, 3)])


class Pair(eqx.Module):
    first: jax.Array
    second: jax.Array


def _matrix(matrix, *tags):
    return lx.MatrixLinearOperator(jnp.asarray(matrix), tags)


def test_acts_as_the_dense_matrix():
    operator = BlockOperator(((_matrix(A), _matrix(B)), (_matrix(C), None)))
    dense = np.block([[A, B], [C, np.zeros((2, 2))]])
    np.testing.assert_allclose(operator.as_matrix(), dense, rtol=1e-13)
    np.testing.assert_allclose(operator.T.as_matrix(), dense.T, rtol=1e-13)
    x, y = RNG.normal(size=3), RNG.normal(size=2)
    first, second = operator.mv((jnp.asarray(x), jnp.asarray(y)))
    np.testing.assert_allclose(first, A @ x + B @ y)
    np.testing.assert_allclose(second, C @ x)


def test_acts_on_any_pytree_and_on_blocks_that_are_pytrees():
    inner = BlockOperator(((_matrix(A), None), (None, _matrix(C @ B))))
    operator = BlockOperator(((inner, None), (None, _matrix(A))), like=Pair(0, 0))
    state = Pair((jnp.ones(3), jnp.ones(2)), jnp.ones(3))
    result = operator.mv(state)
    assert isinstance(result, Pair)
    np.testing.assert_allclose(result.first[1], C @ B @ np.ones(2))
    assert isinstance(operator.T.mv(state), Pair)
    assert eqx.tree_equal(jax.eval_shape(operator.mv, state), operator.out_structure())


def test_rectangular_arrangements():
    row = BlockOperator(((_matrix(A), _matrix(B)),))
    np.testing.assert_allclose(row.as_matrix(), np.hstack([A, B]), rtol=1e-13)
    np.testing.assert_allclose(row.T.as_matrix(), np.hstack([A, B]).T, rtol=1e-13)
    assert row.spectral_bound is None
    assert row.weight is None


def test_block_diagonal_operators_keep_tags_and_weights():
    grid = Grid.from_edges([[0.0, 0.1, 0.5, 1.0]])
    laplacian = Laplacian(grid, Dirichlet())
    symmetric = _matrix(A + A.T, lx.symmetric_tag)
    operator = BlockOperator(((laplacian, None), (None, symmetric)))
    assert is_self_adjoint(operator)
    np.testing.assert_array_equal(operator.weight[0], grid.cell_volumes)
    np.testing.assert_array_equal(operator.weight[1], np.ones(3))
    assert not is_self_adjoint(BlockOperator(((laplacian, symmetric), (symmetric, laplacian))))
    skew = SparseOperator.from_coo([0, 1], [1, 0], [1.0, -1.0], (2, 2), tags=skew_adjoint_tag)
    assert is_skew_adjoint(BlockOperator(((skew, None), (None, skew))))
    assert not is_skew_adjoint(operator)


def test_bound_of_a_first_order_wave_is_the_root():
    laplacian = Laplacian(Grid(8, 0.0, 1.0), Dirichlet())
    identity = lx.IdentityLinearOperator(laplacian.in_structure())
    operator = BlockOperator(((None, identity), (laplacian, None)))
    root = float(jnp.sqrt(laplacian.spectral_bound))
    radius = np.abs(np.linalg.eigvals(operator.as_matrix())).max()
    assert radius <= operator.spectral_bound
    assert operator.spectral_bound == pytest.approx(root, rel=2e-3)
    zero = BlockOperator(((None, identity), (0.0 * laplacian, None)))
    assert spectral_bound(zero) == pytest.approx(0.0, abs=0.2)  # nilpotent: exact only in the limit


def test_the_dtype_of_the_state_decides_also_beside_identities():
    laplacian = Laplacian(Grid(4, 0.0, 1.0))
    operator = BlockOperator(((None, lx.IdentityLinearOperator(laplacian.in_structure())), (laplacian, None)))
    first, second = operator.mv((jnp.ones(4, jnp.float32), jnp.ones(4, jnp.float32)))
    assert first.dtype == second.dtype == jnp.float32


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("blocks", "like", "error", "message"),
    [
        (((_matrix(A),), (_matrix(A), None)), None, ValueError, r"rows of one length.*\[1, 2\]"),
        (((_matrix(A), None),), None, ValueError, "column 1 has no operator"),
        (((A,),), None, TypeError, r"block \(0, 0\) is a ndarray"),
        (((_matrix(A), _matrix(C)),), None, ValueError, "blocks of row 0 have different shapes"),
        (((_matrix(A),), (_matrix(B),)), None, ValueError, "blocks of column 0 have different shapes"),
        (((_matrix(A),),), (0, 0), ValueError, "has 2 leaves for 1 rows"),
    ],
)
def test_bad_blocks_are_told(blocks, like, error, message):
    with pytest.raises(error, match=message):
        BlockOperator(blocks, like=like)
