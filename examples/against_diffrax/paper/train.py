"""B: training loss against seconds, for their methods and ours."""

import statistics
import time
from argparse import Namespace
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from .data import Data, make_data, parts
from .figures import plot_training
from .methods import Method, Solve, default, discrete_adjoint, runge_kutta
from .network import PARAMETRISATIONS
from .report import save
from .stencils import Case
from .table import print_table

DEPTH, STEPS = 10, 3  # published, per unit of time
RATE = 2e-4
RTOL = 1e-4


def methods(case: Case) -> list[Method]:
    """Theirs and ours."""
    steps = max(1, round(STEPS * max(case.horizon, 1.0)))
    theirs = [discrete_adjoint(case, DEPTH), runge_kutta(case, "Dopri5", "backsolve", steps)]
    return [*theirs, runge_kutta(case, "Tsit5", "checkpoints", steps), default(case, RTOL)]


def run(arguments: Namespace) -> dict[str, Any]:
    """Every method and seed, from the same data and the same start."""
    case = Case(arguments.size, arguments.stencil, arguments.horizon)
    rows = []
    for seed in arguments.seeds:
        data = make_data(case, seed, arguments.pairs)
        for method in methods(case):
            if not any(part in method.name for part in arguments.methods):
                continue
            rows.append({"seed": seed, **train(method, data, seed, arguments)})
            done = rows[-1]
            print(
                f"seed {seed}, {method.name}: loss {done['losses'][0]:.3g} -> {done['losses'][-1]:.3g}, "
                f"held out {done['held_out_loss']:.3g}, {done['epoch_s']:.3g} s an epoch, "
                f"{100 * done['solve_share']:.0f} % of it the solves",
                flush=True,
            )
    shared = ("size", "stencil", "horizon", "epochs", "pairs", "parametrisation", "nugget")
    report = {"what": "train", **{key: getattr(arguments, key) for key in shared}, "rows": rows}
    save(arguments.output, report)
    plot_training(report, arguments.output.with_suffix(".png"))
    print_table([report])
    return report


def split(data: Data) -> tuple[Data, Data]:
    """A fifth of the pairs, and at least one, is held out."""
    count = data.start.displacement.shape[0]
    held = max(1, round(0.2 * count))
    return data.part(slice(0, count - held)), data.part(slice(count - held, count))


def field_loss(solve: Solve, nugget: float, field: Array, data: Data) -> Array:
    """Mean over pairs, components and nodes of `((solution - target) / (nugget + |target|))²`."""
    ends = jax.vmap(partial(solve, field**2))(data.start)
    pairs = zip(parts(ends), parts(data.end), strict=True)
    terms = [jnp.mean(((found - target) / (nugget + jnp.abs(target))) ** 2) for found, target in pairs]
    return (terms[0] + terms[1]) / 2.0


def model_loss(solve: Solve, nugget: float, model: Any, data: Data) -> Array:
    """Of a parametrised field."""
    return field_loss(solve, nugget, model(), data)


def train(method: Method, data: Data, seed: int, arguments: Namespace) -> dict[str, Any]:
    """Adam for the epochs that were asked for; each epoch is one step on all training pairs."""
    training, held_out = split(data)
    model = PARAMETRISATIONS[arguments.parametrisation](arguments.size, jax.random.key(seed))
    optimiser = optax.adam(RATE)
    state = optimiser.init(eqx.filter(model, eqx.is_inexact_array))
    loss = partial(model_loss, method.solve, arguments.nugget)

    @eqx.filter_jit
    def epoch(model: Any, state: Any, data: Data) -> tuple[Array, Any, Any]:
        value, gradient = eqx.filter_value_and_grad(loss)(model, data)
        updates, state = optimiser.update(gradient, state)
        return value, eqx.apply_updates(model, updates), state

    jax.block_until_ready(epoch(model, state, training))  # compiles
    losses, seconds = [], []
    for _ in range(arguments.epochs):
        began = time.perf_counter()
        value, model, state = jax.block_until_ready(epoch(model, state, training))
        seconds.append(time.perf_counter() - began)
        losses.append(float(value))
    evaluate = eqx.filter_jit(loss)
    losses.append(float(evaluate(model, training)))
    solving = solve_seconds(method, arguments.nugget, model(), training)
    return {
        "method": method.name,
        "setting": method.setting,
        "losses": losses,
        "seconds": list(np.cumsum(seconds)),
        "epoch_s": statistics.median(seconds),
        "solve_s": solving,
        "solve_share": solving / statistics.median(seconds),
        "held_out_loss": float(evaluate(model, held_out)),
        "parameter_error": parameter_error(model(), data.coefficient),
    }


def solve_seconds(method: Method, nugget: float, field: Array, data: Data, repeats: int = 25) -> float:
    """Median seconds of value and gradient with respect to the plain field: an epoch without its network."""
    program = jax.jit(jax.value_and_grad(partial(field_loss, method.solve, nugget)))
    jax.block_until_ready(program(field, data))
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(program(field, data))
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def parameter_error(found: Array, exact: Array) -> float:
    """Of `|p|`, relative: the equation knows `p²` only."""
    return float(jnp.linalg.norm(jnp.abs(found) - jnp.abs(exact)) / jnp.linalg.norm(exact))
