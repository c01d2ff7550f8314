"""Krylov factorizations and their own adjoints."""

from ._factorization import (
    Hessenberg as Hessenberg,
    Tridiagonal as Tridiagonal,
    arnoldi as arnoldi,
    lanczos as lanczos,
)
