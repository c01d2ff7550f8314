"""Krylov factorizations and their own adjoints."""
