"""What keeps the test run short without leaving anything out."""

import mmap
from importlib.util import find_spec
from pathlib import Path


def quick_to_compile() -> list[str]:
    """Flags for XLA. Compiling is most of the time of a test run, and the programs here are small.

    Without LLVM's optimisation a quarter less; with the older emitters of fused loops another third (a gradient
    through an absorbing layer: 18 to 12 s), and an eighth where a program is not cut in pieces for cores that the other
    worker has. An XLA that does not know a flag ends the process, so it is asked first.
    """
    return [f"--{name}={value}" for name, value in _WANTED.items() if _known(name)]


_WANTED = {
    "xla_backend_optimization_level": "0",
    "xla_cpu_use_fusion_emitters": "false",
    "xla_cpu_parallel_codegen_split_count": "1",
}


def _known(flag: str) -> bool:
    """Whether the name stands in XLA's library."""
    package = find_spec("jaxlib")
    folder = Path(package.submodule_search_locations[0])  # pyright: ignore
    for library in sorted(folder.glob("*.so*"), key=lambda path: -path.stat().st_size)[:2]:
        with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if content.find(flag.encode()) >= 0:
                return True
    return False


def quickly_checked():
    """Let `PyTree[Array]` look at its leaves with `isinstance`.

    jaxtyping builds a checked function for each look, with a signature, binding and memo: 80 % of what run-time type
    checks cost here. Where the leaf's annotation is a class, `isinstance` says the same.
    """
    try:
        from jaxtyping import _typeguard as checker

        thorough = checker.typechecked
    except (ImportError, AttributeError):  # another jaxtyping, which goes about it differently
        return

    def typechecked(function):
        (hint,) = function.__annotations__.values()
        if not isinstance(hint, type):
            return thorough(function)

        def accepts(leaf):
            if not isinstance(leaf, hint):
                raise TypeError

        return accepts

    checker.typechecked = typechecked
