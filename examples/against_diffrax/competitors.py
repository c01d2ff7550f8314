"""All rows of a problem."""

import importlib.util

from . import by_crank_nicolson, by_dense, by_diffrax, by_diffrax_implicit, by_krylovpde, by_leapfrog, by_scipy
from .cases import Case
from .competitor import Competitor


def competitors(case: Case) -> dict[str, Competitor]:
    """By name."""
    families = [by_krylovpde, by_diffrax, by_diffrax_implicit, by_leapfrog, by_crank_nicolson, by_dense, by_scipy]
    if importlib.util.find_spec("matfree") is not None:
        from . import by_matfree

        families.append(by_matfree)
    return {row.label: row for family in families for row in family.competitors(case)}
