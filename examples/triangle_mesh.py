"""Groundwater around a pond, on an unstructured triangle mesh from scikit-fem, with a coefficient for each element.

    python examples/triangle_mesh.py --output triangle_mesh.png

    storage h_t = div(transmissivity grad h) + pump δ(x - well),     h given on the pond's shore and in the west

Linear elements. The stiffness matrix is linear in the transmissivities of the elements, `values = assembly κ`; its
values are the leaf of a `kp.SparseOperator` that derivatives reach. A pumping test that starts from the state of rest
gives the transmissivities of nine blocks of rock.
"""

import argparse

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from scipy.spatial import Delaunay
from skfem import Basis, ElementTriP1, MeshTri
from skfem.models.poisson import laplace, unit_load

import krylovpde as kp
from krylovpde.plot import figure

jax.config.update("jax_enable_x64", True)

STORAGE, PUMP, SIGMA = 0.01, -0.4, 1e-3
POND, RADIUS, WELL = np.array([0.62, 0.56]), 0.12, np.array([0.3, 0.35])
TIMES = np.geomspace(1e-3, 0.1, 8)
BLOCKS = np.array([0.5, 2.0, 1.0, 1.5, 0.7, 3.0, 1.0, 0.4, 2.5])  # the truth, m²/day
rng = np.random.default_rng(0)


def pond_mesh(spacing: float) -> MeshTri:
    """The unit square without a disc: Delaunay's triangles of points that are in no order."""
    line = np.linspace(0.0, 1.0, round(1 / spacing) + 1)
    points = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    inside = np.all((points > 0) & (points < 1), axis=1)
    points[inside] += rng.uniform(-0.25, 0.25, (inside.sum(), 2)) * spacing
    points = points[np.linalg.norm(points - POND, axis=1) > RADIUS + 0.6 * spacing]
    angles = np.linspace(0.0, 2 * np.pi, round(2 * np.pi * RADIUS / spacing), endpoint=False)
    points = np.concatenate([points, POND + RADIUS * np.stack([np.cos(angles), np.sin(angles)], axis=1)])
    triangles = Delaunay(points).simplices
    dry = np.linalg.norm(points[triangles].mean(axis=1) - POND, axis=1) > RADIUS * np.cos(np.pi / len(angles))
    return MeshTri(points.T.copy(), triangles[dry].T.copy())


mesh = pond_mesh(1 / 16)
basis = Basis(mesh, ElementTriP1())
shore = np.linalg.norm(mesh.p.T - POND, axis=1) < RADIUS * (1 + 1e-9)
held = shore | (mesh.p[0] == 0.0)  # Dirichlet's nodes are eliminated
free = np.flatnonzero(~held)
number = np.cumsum(~held) - 1
heads = np.where(shore, 1.0, 0.0)[held]  # of the held nodes

# Entry p of the stiffness matrix is Σ_e assembly[p, e] κ_e; what the held nodes give is a load, linear in κ, too.
entries = laplace.coo_data(basis)  # every pair of an element's nodes, all elements of the first pair first
element = np.arange(entries.data.size) % mesh.nelements
row, column = entries.indices
kept = ~held[row] & ~held[column]
pairs, pair = np.unique(np.stack([number[row], number[column]])[:, kept], axis=1, return_inverse=True)
assembly = kp.SparseOperator.from_coo(pair, element[kept], entries.data[kept], (pairs.shape[1], mesh.nelements))
given = ~held[row] & held[column]
push = -entries.data[given] * np.where(shore, 1.0, 0.0)[column[given]]
from_held = kp.SparseOperator.from_coo(number[row[given]], element[given], push, (free.size, mesh.nelements))
mass = STORAGE * unit_load.assemble(basis)[free]  # lumped: the row sums of the mass matrix

wells = np.concatenate([WELL[None], 0.08 + 0.84 * rng.random((60, 2))])
wells = wells[np.linalg.norm(wells - POND, axis=1) > 1.4 * RADIUS][:25]
probes = basis.probes(wells.T).tocsr()[:, free]
observe = kp.SparseOperator.from_scipy(probes)  # elements at the wells have no held node
pumping = jnp.asarray(PUMP * probes[[0]].toarray()[0])
block = np.floor(3 * mesh.p[:, mesh.t].mean(axis=1)).clip(0, 2).astype(int)
zone = 3 * block[1] + block[0]


@jax.jit
def predict(transmissivity):
    """Heads in the wells, of shape (times, wells), after the pump in the first one is switched on."""
    stiffness = kp.SparseOperator.from_coo(*pairs, assembly.mv(transmissivity), (free.size, free.size))
    natural = from_held.mv(transmissivity)
    rest = kp.steady_state(kp.Assembled(stiffness, mass, source=natural), rtol=1e-10)
    test = kp.Assembled(stiffness, mass, source=natural + pumping)
    return kp.solve(test, rest, TIMES, observe=observe, method=kp.Chebyshev()).value


class Rock(eqx.Module):
    """One transmissivity for each block, as logarithms."""

    logarithms: jax.Array

    def field(self):
        """One for each element."""
        return jnp.exp(self.logarithms)[zone]


def main():
    """Make data, check the gradient, fit, draw."""
    parser = argparse.ArgumentParser(description="A pumping test on a triangle mesh.")
    parser.add_argument("--output", default="triangle_mesh.png", help="where the figure goes")
    options = parser.parse_args()
    truth = Rock(jnp.log(BLOCKS))
    data = predict(truth.field()) + SIGMA * rng.standard_normal((TIMES.size, len(wells)))
    start = Rock(jnp.zeros(9))
    report = kp.verify.taylor_test(lambda k: jnp.sum((predict(k) - data) ** 2), start.field(), key=jax.random.key(1))
    verdict = "passed" if report.passed else report
    print(f"{mesh.nelements} elements, {free.size} unknowns; Taylor test, element by element: {verdict}")
    loss = kp.inverse.LeastSquares(lambda model: predict(model.field()), data, sigma=SIGMA)
    result = kp.inverse.fit(loss, start, optx.LevenbergMarquardt(rtol=1e-6, atol=1e-6), max_iterations=15)
    found = jnp.exp(result.model.logarithms)
    for name, values in (("truth", BLOCKS), ("estimate", found)):
        print(f"{name:10}" + " ".join(f"{float(value):6.3f}" for value in values))
    print(f"largest error {100 * float(jnp.max(jnp.abs(found / BLOCKS - 1))):.2f} %")

    drawn = None
    shown, axes = figure(1, 3, size=(10.0, 3.4))
    fields = {"truth": truth.field(), "start": start.field(), "estimate": result.model.field()}
    for place, (title, field) in zip(np.ravel(axes), fields.items(), strict=True):
        drawn = place.tripcolor(
            *mesh.p, mesh.t.T, np.log10(field), cmap="cividis", vmin=-0.5, vmax=0.5, rasterized=True
        )
        place.triplot(*mesh.p, mesh.t.T, color="white", linewidth=0.15)
        place.plot(*wells.T, "o", markersize=3, markerfacecolor="none", markeredgecolor="white")
        place.plot(*WELL, "*", markersize=11, color="#d55e00", markeredgecolor="white")
        place.set(title=title, aspect="equal", xlabel="x (km)", ylabel="y (km)")
    shown.colorbar(drawn, ax=axes, label="log₁₀ transmissivity", shrink=0.9)
    shown.savefig(options.output, dpi=150)


if __name__ == "__main__":
    main()
