"""Certificates that a user can ask for: of a gradient, of a transpose, of an operator's tags and bound."""

from ._dot import DotReport as DotReport, dot_test as dot_test
from ._structure import Claim as Claim, StructureReport as StructureReport, structure_test as structure_test
from ._taylor import TaylorReport as TaylorReport, taylor_test as taylor_test
