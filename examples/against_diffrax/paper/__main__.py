"""The PDE experiment of *Gradients of functions of large matrices* (Krämer, Moreno-Muñoz, Roy, Hauberg 2024), and ours.

A two-dimensional wave equation whose coefficient, a random field, is learned from pairs of states.

    python -m examples.against_diffrax.paper work     errors against counted products with the operator (A)
    python -m examples.against_diffrax.paper train    loss against seconds (B), and the table
    python -m examples.against_diffrax.paper table    the table of files that `train` wrote (C)
    python -m examples.against_diffrax.paper alone    seconds of value and gradient without a network

Single precision, as published; references in double.
"""

import argparse
from pathlib import Path

from . import solve_alone, table, train, work
from .network import PARAMETRISATIONS
from .stencils import STENCILS

COMMANDS = {"work": work.run, "train": train.run, "table": table.run, "alone": solve_alone.run}
# The published loss is relative, ours the mean of ((solution - target) / (nugget + |target|))²: how zeros of the target
# are kept from the denominator was not told to us. With 1 a network comes from 0.07 to 0.011 in 150 epochs, on the way
# to the published 0.003 after 3000; with 3.5e-4, the root of the unit of rounding, a few nodes decide, and it is 8
# after 60 (a loss of 80 at the start).
NUGGET = 1.0


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.against_diffrax.paper",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    parsers = {name: commands.add_parser(name) for name in COMMANDS}
    for name in ("work", "train", "alone"):
        add_common(parsers[name], name)
    parsers["work"].add_argument("--depths", type=int, nargs="+", default=[4, 6, 8, 10, 15, 20])
    parsers["work"].add_argument("--steps", type=int, nargs="+", default=[1, 2, 3, 5, 9], help="per unit of time")
    parsers["work"].add_argument("--tolerances", type=float, nargs="+", default=[1e-2, 1e-3, 1e-4, 1e-5])
    add_training(parsers["train"])
    parsers["alone"].add_argument("--repeats", type=int, default=25)
    parsers["table"].add_argument("--input", type=Path, nargs="+", required=True, help="files that `train` wrote")
    return parser.parse_args(words)


def add_common(parser: argparse.ArgumentParser, name: str) -> None:
    """What all experiments know."""
    seeds = [1, 2, 3, 4, 5] if name == "work" else [1, 2, 3]
    parser.add_argument("--size", type=int, default=128, help="nodes along each axis")
    parser.add_argument("--stencil", choices=STENCILS, default="paper")
    parser.add_argument("--horizon", type=float, default=1.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=seeds, help="of coefficient, states and network")
    parser.add_argument("--output", type=Path, default=Path(f"results/paper_{name}.json"))


def add_training(parser: argparse.ArgumentParser) -> None:
    """What training knows besides."""
    parser.add_argument("--epochs", type=int, default=200, help="3000 as published")
    parser.add_argument("--pairs", type=int, default=5, help="a fifth of them is held out")
    parser.add_argument("--parametrisation", choices=list(PARAMETRISATIONS), default="network")
    parser.add_argument("--methods", nargs="+", default=[""], help="only those whose name contains one of these")
    parser.add_argument("--nugget", type=float, default=NUGGET, help="added to |target| in the loss")


def main() -> None:
    """One experiment."""
    arguments = parse()
    COMMANDS[arguments.command](arguments)


if __name__ == "__main__":
    main()
