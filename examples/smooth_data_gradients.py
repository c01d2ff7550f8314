"""Why the default gradient is not the derivative of the iteration: one-dimensional heat with smooth data.

A heated rod, `u_t = (k u_x)_x` with fixed ends, a smooth start `v` and a smooth cotangent `g`. For each Krylov
dimension m: the error of `exp(tA) v`, and the errors of the gradient of `<g, exp(tA) v>` with respect to the
conductivities of the 128 faces, by the discrete adjoint of the iteration and by two Krylov spaces. Errors are relative,
against the dense exponential.

    python examples/smooth_data_gradients.py [--output FILE]
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np

import krylovpde as kp

DIMENSIONS = (5, 10, 15, 20, 25, 30, 35, 40)
NUM_CELLS, DURATION = 127, 0.001


def rod(conductivity: jax.Array) -> lx.AbstractLinearOperator:
    """`(k u_x)_x` on 127 interior nodes, conductivities on 128 faces, zero at both ends."""
    spacing = 1.0 / (NUM_CELLS + 1)

    def apply(u: jax.Array) -> jax.Array:
        padded = jnp.pad(u, 1)
        return jnp.diff(conductivity * jnp.diff(padded)) / spacing**2

    operator = lx.FunctionLinearOperator(apply, jax.ShapeDtypeStruct((NUM_CELLS,), conductivity.dtype))
    return kp.annotate(operator, tags=kp.self_adjoint_tag)


def data() -> tuple[jax.Array, jax.Array, jax.Array]:
    """Conductivity (with a jump), start and cotangent (both smooth)."""
    x = np.arange(1, NUM_CELLS + 1) / (NUM_CELLS + 1)
    faces = (np.arange(NUM_CELLS + 1) + 0.5) / (NUM_CELLS + 1)
    conductivity = 1.0 + 0.5 * np.sin(2 * np.pi * faces) + 0.3 * (faces > 0.5)
    start = np.exp(-(((x - 0.35) / 0.1) ** 2))
    cotangent = np.exp(-(((x - 0.6) / 0.12) ** 2))
    return jnp.asarray(conductivity), jnp.asarray(start), jnp.asarray(cotangent)


def relative(value: jax.Array, reference: jax.Array) -> float:
    """`‖value - reference‖ / ‖reference‖`."""
    return float(jnp.linalg.norm(value - reference) / jnp.linalg.norm(reference))


def errors() -> dict[str, list[float]]:
    """Relative errors over `DIMENSIONS`."""
    conductivity, start, cotangent = data()

    def solve(conductivity, method, adjoint):
        operator = rod(conductivity)
        # A fixed dimension is wanted here, not a tolerance: the result is looked at whether or not it met one.
        options = {"method": method, "adjoint": adjoint, "rtol": 1e-14, "max_steps": 1, "throw": False}
        return kp.expm_multiply(operator, start, DURATION, **options).value

    def objective(conductivity, method, adjoint):
        value = solve(conductivity, method, adjoint)
        return jnp.vdot(cotangent, value), value

    def value_and_gradient(method, adjoint):
        (_, value), gradient = jax.value_and_grad(objective, has_aux=True)(conductivity, method, adjoint)
        return value, gradient

    exact_value, exact_gradient = value_and_gradient(kp.Dense(), kp.DirectAdjoint())
    found: dict[str, list[float]] = {"value": [], "discrete adjoint": [], "two-sided adjoint": []}
    for dimension in DIMENSIONS:
        method = kp.Arnoldi(max_dimension=dimension)
        value, gradient = value_and_gradient(method, kp.IterationAdjoint())
        found["value"].append(relative(value, exact_value))
        found["discrete adjoint"].append(relative(gradient, exact_gradient))
        found["two-sided adjoint"].append(relative(two_sided_gradient(dimension), exact_gradient))
    return found


def two_sided_gradient(dimension: int) -> jax.Array:
    """The gradient from one step with two spaces of exactly this dimension, from the public factorization."""
    conductivity, start, cotangent = data()
    operator = rod(conductivity)
    forward = kp.arnoldi(operator, start, dimension)
    adjoint = kp.arnoldi(operator.transpose(), cotangent, dimension)
    unit = jnp.zeros((dimension, dimension)).at[0, 0].set(1.0)
    block = jnp.block([[adjoint.matrix, unit], [jnp.zeros_like(unit), forward.matrix.T]])
    pairing = jax.scipy.linalg.expm(DURATION * block, max_squarings=32)[:dimension, dimension:]
    pairing = pairing * forward.norm * adjoint.norm

    def images(conductivity):
        return jax.vmap(rod(conductivity).mv)(forward.basis)

    return jax.vjp(images, conductivity)[1](pairing.T @ adjoint.basis)[0]


def draw(found: dict[str, list[float]], output: Path) -> None:
    """Errors over the Krylov dimension."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    styles = {"value": ("k", "o", "value"), "discrete adjoint": ("#d55e00", "s", "gradient, discrete adjoint")}
    styles["two-sided adjoint"] = ("#0072b2", "^", "gradient, two-sided adjoint")
    for name, (colour, marker, label) in styles.items():
        axes.semilogy(DIMENSIONS, found[name], marker=marker, color=colour, label=label)
    axes.axhline(1.0, color="0.7", linewidth=0.8)
    axes.set_xlabel("Krylov dimension")
    axes.set_ylabel("relative error")
    axes.set_title("One-dimensional heat, smooth data")
    axes.legend(frameon=False)
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=150)
    plt.close(figure)


def main() -> None:
    """Prints the table and saves the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("docs/figures/smooth_data_gradients.png"))
    output = parser.parse_args().output
    jax.config.update("jax_enable_x64", True)
    found = errors()
    print("dimension  " + "  ".join(f"{name:>18s}" for name in found))
    for row, dimension in enumerate(DIMENSIONS):
        print(f"{dimension:9d}  " + "  ".join(f"{values[row]:18.1e}" for values in found.values()))
    draw(found, output)
    print(f"figure: {output}")


if __name__ == "__main__":
    main()
