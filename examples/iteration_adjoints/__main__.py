"""What the adjoint of a Krylov iteration does well, and where it is the wrong gradient.

    python -m examples.iteration_adjoints hilbert    errors on ill-conditioned matrices, with and without re-projection
    python -m examples.iteration_adjoints depth      time and memory over the Krylov depth, beside backpropagation
    python -m examples.iteration_adjoints smooth     smooth data, heat and waves: exact for the iteration, and wrong

Each prints a table, writes its numbers as JSON and draws a figure.
"""

import argparse
from pathlib import Path

import jax

from . import depth, hilbert, smooth
from .report import write

EXPERIMENTS = {"hilbert": hilbert, "depth": depth, "smooth": smooth}


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.iteration_adjoints",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="experiment", required=True)
    for name, module in EXPERIMENTS.items():
        command = commands.add_parser(
            name, description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        module.add_options(command)
        command.add_argument("--dtype", choices=["float64", "float32"], default="float64")
        command.add_argument("--output", type=Path, default=Path(f"results/iteration_adjoints_{name}.json"))
        command.add_argument("--figure", type=Path, default=Path(f"results/iteration_adjoints_{name}.png"))
    return parser.parse_args()


def main() -> None:
    """Run one experiment."""
    arguments = parse()
    # Single precision is asked for with double precision off: matfree mixes the two otherwise, and fails.
    jax.config.update("jax_enable_x64", arguments.dtype == "float64")
    module = EXPERIMENTS[arguments.experiment]
    found = module.run(arguments)
    write(found, arguments.output)
    module.draw(found, arguments.figure)
    print(f"written: {arguments.output}\nfigure: {arguments.figure}")


if __name__ == "__main__":
    main()
