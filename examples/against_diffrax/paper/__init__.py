"""The PDE experiment of Krämer et al. (2024): `python -m examples.against_diffrax.paper` from the project's root."""
