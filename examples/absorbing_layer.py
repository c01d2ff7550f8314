"""Waves that leave: what an absorbing layer sends back, beside damping alone, against a domain without end.

A packet of plane waves comes in at an angle. Along the layer the domain is periodic and one wavelength long, so that
the angle is exact; what would have been without a layer comes from a domain so long that nothing returns.

    python -m examples.absorbing_layer --figure docs/figures/absorbing_layer.png
"""

import argparse

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import krylovpde as kp

ANGLES = (0.0, 30.0, 45.0, 60.0, 75.0)
WIDTH = 20
# Of damping alone, at the wall, in speeds over cell sizes.
STRENGTHS = (0.2, 0.4, 0.8)


def packet(x, centre, length, kx, ky, y):
    """The field and its rate of change, by the dispersion relation of the grid, in cells."""
    far = np.arange(-2048, 2048) + 0.5
    envelope = np.exp(1j * kx * far - (far / length) ** 2 / 2)
    frequencies = np.hypot(2 * np.sin(np.pi * np.fft.fftfreq(far.size)), 2 * np.sin(ky / 2))
    rate = np.fft.ifft(-1j * frequencies * np.fft.fft(envelope))
    phase = np.exp(1j * ky * y)
    for part in (envelope, rate):
        along = np.interp(x - centre, far, part.real) + 1j * np.interp(x - centre, far, part.imag)
        yield jnp.asarray(np.real(along[:, None] * phase[None, :]))


def energy(displacement, velocity):
    """Kinetic and potential energy, in units of the grid."""
    strain = np.sum(np.diff(displacement, axis=0) ** 2) + np.sum((displacement - np.roll(displacement, 1, 1)) ** 2)
    return np.sum(velocity**2) + strain


def reflected(angle, wavelength=12.0, width=WIDTH, damping=()):
    """The share of a packet's energy that comes back: of a layer, then of each scalar damping of its profile."""
    sine, cosine = np.sin(np.radians(angle)), np.cos(np.radians(angle))
    cells = max(1, round(wavelength / sine)) if sine > 0 else 1
    wavelength = cells * sine if sine > 0 else wavelength
    kx, ky = 2 * np.pi / wavelength * cosine, 2 * np.pi / wavelength * sine
    length = 0.8 * wavelength / cosine
    inner = int(9 * length)
    time = (0.5 * inner + 2 * width + 5 * length) / cosine

    def final(beyond, condition, strength=None):
        count = inner + width + beyond
        grid = kp.Grid((count, cells), (0.0, 0.0), (float(count), float(cells)))
        x, y = np.arange(count) + 0.5, np.arange(cells) + 0.5
        start = kp.WaveState(*packet(x, 0.5 * inner, length, kx, ky, y))
        walls = kp.Boundary(lower=(kp.Neumann(), kp.Periodic()), upper=(condition, kp.Periodic()))
        # --8<-- [start:solve]
        depth = jnp.asarray(np.broadcast_to(np.clip((x - inner) / width, 0.0, 1.0)[:, None], grid.shape))
        equation = kp.Wave(grid, 1.0, boundary=walls, damping=None if strength is None else strength * depth**2)
        value = kp.solve(equation, start, time, rtol=1e-7).value
        # --8<-- [end:solve]
        inside = jax.tree.map(lambda leaf: np.asarray(leaf)[:inner], (start, value))
        return [(state.displacement, state.velocity) for state in inside]

    start, free = final(int(0.5 * time), kp.Neumann())
    ends = [final(0, kp.Absorbing(width))[1]] + [final(0, kp.Dirichlet(), strength)[1] for strength in damping]
    return [energy(end[0] - free[0], end[1] - free[1]) / energy(*start) for end in ends]


def draw(path, angles, shares):
    """What comes back over the angle."""
    figure, axis = plt.subplots(figsize=(6.0, 4.5), layout="constrained")
    axis.semilogy(angles, shares[:, 0], "o-", label="Absorbing(20)")
    theory = np.linspace(0.0, np.max(angles), 100)
    axis.semilogy(theory, 1e-6 ** np.cos(np.radians(theory)), ":", color="C0", label="$10^{-6\\cos\\theta}$")
    for strength, column in zip(STRENGTHS, shares.T[1:], strict=True):
        axis.semilogy(angles, column, "s--", label=f"damping alone, {strength} c/h at the wall")
    axis.set(xlabel="angle of incidence in degrees", ylabel="share of the energy that comes back")
    figure.legend(loc="outside upper center", ncols=2)
    figure.savefig(path, dpi=150)


def main():
    """The table, and the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--figure", help="where to write the figure")
    parser.add_argument("--angles", type=float, nargs="*", default=ANGLES)
    arguments = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    print("angle   layer of 20 cells   " + "   ".join(f"damping {strength}" for strength in STRENGTHS))
    shares = np.array([reflected(angle, damping=STRENGTHS) for angle in arguments.angles])
    for angle, row in zip(arguments.angles, shares, strict=True):
        print(f"{angle:5.0f}   {row[0]:17.1e}   " + "   ".join(f"{share:11.1e}" for share in row[1:]))
    if arguments.figure:
        draw(arguments.figure, np.array(arguments.angles), shares)


if __name__ == "__main__":
    main()
