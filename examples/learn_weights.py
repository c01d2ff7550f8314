"""Which sensors to trust, and how smooth a field is: weights of an inversion learnt from a second experiment.

A column of soil has a diffusivity that varies with depth. Eight sensors see a pulse spread; two of them are broken, and
nobody knows. Their standard deviations and the weight of the smoothness start wrong, and are moved along the
hypergradient: the derivative, through the fit, of how well the fitted field predicts another experiment.

    python examples/learn_weights.py --output results/learn_weights.png
"""

import argparse
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import krylovpde as kp
from krylovpde.inverse import Experiment, GaussNewton, GaussNewtonHessian, LeastSquares, Positive, Tikhonov, fit

jax.config.update("jax_enable_x64", True)

GRID = kp.Grid((48,), 0.0, 1.0)
(DEPTH,) = map(jnp.asarray, GRID.coordinates)
SIGMA, BROKEN = 0.005, np.array([2, 5])


class Soil(eqx.Module):
    """Diffusion with an unknown diffusivity."""

    diffusivity: Positive

    def equation(self):
        """For the experiments."""
        return kp.Diffusion(GRID, self.diffusivity.value)


def pulse(depth: float) -> jax.Array:
    """What is there at the beginning."""
    return jnp.exp(-(((DEPTH - depth) / 0.1) ** 2))


TIMES, PLACES = jnp.linspace(0.1, 1.5, 8), np.linspace(0.06, 0.94, 8)[:, None]
TRUTH = Soil(Positive(jnp.log(0.05) + 0.6 * jnp.sin(2 * jnp.pi * DEPTH)))


# --8<-- [start:losses]
def losses(key: jax.Array) -> tuple[Any, Any]:
    """The loss to be fitted, whose weights are to be learnt, and the one that judges."""
    run = Experiment(pulse(0.3), TIMES, kp.Sensors(GRID, PLACES))
    judge = Experiment(pulse(0.75), TIMES, kp.Sensors(GRID, PLACES)).synthesise(TRUTH, noise=SIGMA, key=key)
    data = run.synthesise(TRUTH, noise=SIGMA, key=jax.random.fold_in(key, 1)).data
    data = data.at[:, BROKEN].add(jnp.array([0.15, -0.1]))
    smoothness = Tikhonov(GRID, lambda soil: soil.diffusivity.raw, weight=jnp.asarray(0.01))
    return LeastSquares(run, data, sigma=jnp.full(8, SIGMA)) + smoothness, LeastSquares(judge)


def weights_of(loss: Any) -> tuple[jax.Array, jax.Array]:
    """What is learnt."""
    return loss.terms[0].sigma, loss.terms[1].weight


# --8<-- [end:losses]


# --8<-- [start:learn]
def learn(loss: Any, judge: Any, steps: int) -> tuple[Any, list[Any], list[float]]:
    """The loss with its weights learnt, the fitted models, and what the judge said of each."""
    only = eqx.tree_at(weights_of, jax.tree.map(lambda _: False, loss), (True, True))
    optimiser, method = optax.adam(0.3), kp.inverse.ConjugateGradient(48, 1e-6)
    logarithms = jax.tree.map(jnp.log, weights_of(loss))  # weights stay positive
    state, model = optimiser.init(logarithms), Soil(Positive(jnp.full(GRID.shape, jnp.log(0.05))))
    models, values = [], []
    for _ in range(steps):
        loss = eqx.tree_at(weights_of, loss, jax.tree.map(jnp.exp, logarithms))
        model = fit(loss, model, GaussNewton(rtol=1e-6), progress=None).model
        gradient = kp.inverse.hypergradient(
            judge, loss, model, method, hyperparameters=only, curvature=GaussNewtonHessian()
        )
        chained = jax.tree.map(jnp.multiply, weights_of(gradient), weights_of(loss))
        updates, state = optimiser.update(chained, state)
        logarithms = optax.apply_updates(logarithms, updates)
        models.append(model)
        values.append(float(2 * judge(model) / judge.num_data))
        print(f"{len(values):3d}  χ²/N of the second experiment {values[-1]:8.3f}", flush=True)
    return loss, models, values


# --8<-- [end:learn]


def main():
    """Learn, print the sensors, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--output", type=Path, default=Path("results/learn_weights.png"))
    arguments = parser.parse_args()
    loss, models, values = learn(*losses(jax.random.key(0)), arguments.steps)
    sigma, weight = weights_of(loss)
    print(f"weight of the smoothness {weight:.3g}; standard deviations over the truth's:")
    print("  ".join(f"{s / SIGMA:.1f}{' (broken)' if i in BROKEN else ''}" for i, s in enumerate(sigma)))
    figure, axes = plt.subplots(1, 2, figsize=(9.0, 3.8), layout="constrained")
    axes[0].semilogy(values, "o-")
    axes[0].set(xlabel="outer step", ylabel="χ²/N of the second experiment")
    for name, soil in (("truth", TRUTH), ("as told", models[0]), ("learnt", models[-1])):
        axes[1].semilogy(DEPTH, soil.diffusivity.value, label=name)
    axes[1].set(xlabel="depth", ylabel="diffusivity")
    axes[1].legend()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(arguments.output, dpi=150)


if __name__ == "__main__":
    main()
