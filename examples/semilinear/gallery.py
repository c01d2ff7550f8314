"""All semilinear examples in one figure.

python examples/semilinear/gallery.py [--only NAME ...] [--size CELLS] [--figure FILE]
"""

import argparse

import allen_cahn
import burgers
import fisher_kpp
import gray_scott
import kuramoto_sivashinsky
import matplotlib.pyplot as plt
import porous_fisher

EXAMPLES = {
    module.__name__: module
    for module in (fisher_kpp, porous_fisher, burgers, kuramoto_sivashinsky, allen_cahn, gray_scott)
}


def main() -> None:
    """A panel for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=EXAMPLES, default=list(EXAMPLES))
    parser.add_argument("--size", type=int, help="cells along each axis, instead of each example's own number")
    parser.add_argument("--figure", default="semilinear.png")
    arguments = parser.parse_args()
    columns = min(3, len(arguments.only))
    rows = -(-len(arguments.only) // columns)
    size = (3.4 * columns, 3.0 * rows)
    figure, panels = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
    for name, axes in zip(arguments.only, panels.flat, strict=False):
        EXAMPLES[name].draw(axes, **({} if arguments.size is None else {"size": arguments.size}))
    figure.savefig(arguments.figure, dpi=120)


if __name__ == "__main__":
    main()
