"""The conditions under which every test runs.

Double precision, strict dtype promotion, warnings as errors (pyproject.toml), and the type hints of the package checked
at run time. No test changes these for the next one: the markers below set and restore.
"""

import os
from pathlib import Path

from tests.quick import quick_to_compile, quickly_checked

os.environ.setdefault("MPLBACKEND", "Agg")  # figures are files, never windows
# Workers that each spin several BLAS threads on the same cores made `eigh` of a 77 x 77 matrix take 80 ms for 0.5 ms.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Before jax is there: XLA reads its flags once.
os.environ.setdefault("XLA_FLAGS", " ".join(quick_to_compile()))

import jax
import pytest
from jax import config
from jaxtyping import config as jaxtyping_config, install_import_hook

config.update("jax_enable_x64", True)
config.update("jax_numpy_dtype_promotion", "strict")

# The cache of compiled programs is shared by the workers and outlives the run; programs that
# compile in less than a fifth of a second are not worth the file.
_CACHE = Path(__file__).parent.parent / ".pytest_cache" / "jax"
config.update("jax_compilation_cache_dir", str(_CACHE))
config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
config.update("jax_persistent_cache_min_entry_size_bytes", 0)

# Before the first import of the package: from here on, its annotations are checked at every call.
quickly_checked()
install_import_hook("krylovpde", "beartype.beartype")


@pytest.fixture
def key():
    """The seed of a test's random numbers; split it, never reuse it."""
    return jax.random.key(20240527)


@pytest.fixture(autouse=True, scope="module")
def _few_mappings():
    """Forget compiled programs before a worker has too many of them.

    Each one takes memory mappings of its own, of which Linux grants a process 65530; past that, JAX crashes. A worker
    of this suite reached 33000 after a third of it.
    """
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > 15_000:
        jax.clear_caches()


@pytest.fixture(autouse=True)
def _markers(request):
    """Carry out the markers `bad_input` and `standard_promotion`."""
    bad_input = request.node.get_closest_marker("bad_input") is not None
    promotion = "standard" if request.node.get_closest_marker("standard_promotion") else "strict"
    jaxtyping_config.update("jaxtyping_disable", bad_input)
    with jax.numpy_dtype_promotion(promotion):
        yield
    jaxtyping_config.update("jaxtyping_disable", False)
