"""Our integrators beside Exponax' on its own ground: periodic, pseudo-spectral, one dimension.

    Allen-Cahn              u_t = ν u_xx + u - u³
    Burgers                 u_t = ν u_xx - (u²/2)_x
    Kuramoto-Sivashinsky    u_t = -u_xx - u_xxxx - (u²/2)_x

Both use the same points, the same Fourier derivatives and Orszag's rule; Exponax takes fixed steps of ETDRK4 with
coefficients that it computes once for all modes, we steps that follow from the tolerance, by polynomials of an operator
that is applied with two Fourier transforms.

python examples/against_exponax.py [--size 128] [--repeats 5] [--output FILE]
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any, NamedTuple

import exponax as ex
import jax
import jax.numpy as jnp
import numpy as np

import krylovpde as kp

jax.config.update("jax_enable_x64", True)


class FourierOperator(kp.AbstractOperator):
    """`A u` with a real, even symbol: a multiplication in Fourier space, self-adjoint, its interval read off."""

    symbol: jax.Array
    weight = None

    def __init__(self, symbol: Any):
        """The symbol at the frequencies of `jnp.fft.rfft`, of an even number of points."""
        self.symbol = jnp.asarray(symbol)

    def mv(self, vector: jax.Array) -> jax.Array:
        """Two transforms."""
        return jnp.fft.irfft(self.symbol * jnp.fft.rfft(vector), n=vector.shape[0])

    def transpose(self) -> "FourierOperator":
        """Itself."""
        return self

    def in_structure(self) -> Any:
        """Points in a row."""
        return jax.ShapeDtypeStruct((2 * (self.symbol.shape[0] - 1),), self.symbol.dtype)

    def out_structure(self) -> Any:
        """The same."""
        return self.in_structure()

    @property
    def spectral_bound(self) -> jax.Array:
        """The largest of the symbol."""
        return jnp.max(jnp.abs(self.symbol))

    @property
    def tags(self) -> frozenset[object]:
        """Self-adjoint in the Euclidean product."""
        return frozenset({kp.self_adjoint_tag})


@kp.operator.spectral_interval.register(FourierOperator)
def _(operator: FourierOperator) -> tuple[jax.Array, jax.Array]:
    return jnp.min(operator.symbol), jnp.max(operator.symbol)


class Case(NamedTuple):
    """One problem: length, end, Exponax' stepper of a step size, our equation, the initial state."""

    length: float
    end: float
    stepper: Any
    equation: kp.Semilinear
    initial: jax.Array


def cases(size: int) -> dict[str, Case]:
    """On `size` points."""
    ring, long = 2 * np.pi, 32 * np.pi
    wave = np.arange(size // 2 + 1, dtype=float)
    x = np.arange(size) / size

    def filtered(u: jax.Array, part: float) -> jax.Array:
        """Without the modes that a product would fold back (Orszag 1971): this part of them is kept, as there."""
        return jnp.where(wave <= part * (size // 2) - 1, jnp.fft.rfft(u), 0.0)

    def advection(length: float) -> Any:
        def rate(_t, u):
            smooth = jnp.fft.irfft(filtered(u, 2 / 3), n=size)
            return jnp.fft.irfft(-1j * np.pi / length * wave * filtered(smooth**2, 2 / 3), n=size)

        return rate

    def reaction(_t, u):
        smooth = jnp.fft.irfft(filtered(u, 1 / 2), n=size)
        return jnp.fft.irfft(filtered(-(smooth**3), 1 / 2), n=size)

    k, chaos = wave, wave * ring / long
    steppers: dict[str, Any] = {
        "Allen-Cahn": lambda dt: ex.stepper.reaction.AllenCahn(1, ring, size, dt, diffusivity=0.02, order=4),
        "Burgers": lambda dt: ex.stepper.Burgers(1, ring, size, dt, diffusivity=0.1, conservative=True, order=4),
        "Kuramoto-Sivashinsky": lambda dt: ex.stepper.KuramotoSivashinskyConservative(1, long, size, dt, order=4),
    }
    parts = {
        "Allen-Cahn": (ring, 6.0, 1.0 - 0.02 * k**2, reaction, 0.6 * np.sin(ring * x) + 0.2 * np.cos(2 * ring * x)),
        "Burgers": (ring, 1.5, -0.1 * k**2, advection(ring), np.sin(ring * x) + 0.3 * np.cos(2 * ring * x)),
        "Kuramoto-Sivashinsky": (
            long, 30.0, chaos**2 - chaos**4, advection(long), np.cos(ring * x) * (1.0 + np.sin(ring * x)),
        ),
    }  # fmt: skip
    return {
        name: Case(length, end, steppers[name], kp.Semilinear(FourierOperator(symbol), rest), jnp.asarray(initial))
        for name, (length, end, symbol, rest, initial) in parts.items()
    }


def by_exponax(case: Case, steps: int) -> jax.Array:
    """Fixed steps of order four."""
    return ex.repeat(case.stepper(case.end / steps), steps)(case.initial[None])[0]


def by_krylovpde(case: Case, rtol: float) -> jax.Array:
    """Steps that follow from the tolerance; short tables of coefficients, for a field as small as this."""
    method = kp.ETDRK4(kp.Chebyshev(max_degree=512))
    return kp.solve(case.equation, case.initial, case.end, method=method, rtol=rtol, max_steps=1024).value


def error(value: jax.Array, reference: jax.Array) -> float:
    """Relative, in the norm of the points."""
    return float(jnp.linalg.norm(value - reference) / jnp.linalg.norm(reference))


def measure(function: Any, reference: jax.Array, repeats: int) -> dict[str, float]:
    """Error, and the median of the seconds after a warm-up."""
    compiled = jax.jit(function)
    value, seconds = compiled().block_until_ready(), []
    for _ in range(repeats):
        start = time.perf_counter()
        compiled().block_until_ready()
        seconds.append(time.perf_counter() - start)
    return {"error": error(value, reference), "seconds": statistics.median(seconds)}


def main() -> None:
    """A table, and the file that it is made of."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tolerances", type=float, nargs="+", default=[1e-3, 1e-5, 1e-7])
    parser.add_argument("--steps", type=int, nargs="+", default=[32, 128, 512])
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    rows = []
    print("| problem | method | setting | error | value |\n|---|---|---|---|---|")
    for name, case in cases(arguments.size).items():
        reference = by_exponax(case, 16384)
        settings = [("Exponax, ETDRK4", f"{n} steps", lambda n=n: by_exponax(case, n)) for n in arguments.steps]  # noqa: B023
        settings += [("krylovpde, ETDRK4", f"{r:.0e}", lambda r=r: by_krylovpde(case, r)) for r in arguments.tolerances]  # noqa: B023
        for method, setting, function in settings:
            found = measure(function, reference, arguments.repeats)
            rows.append({"problem": name, "method": method, "setting": setting} | found)
            cells = (name, method, setting, f"{found['error']:.0e}", f"{1e3 * found['seconds']:.3g} ms")
            print("| " + " | ".join(cells) + " |", flush=True)
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps({"size": arguments.size, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
