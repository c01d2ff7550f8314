"""krylovpde beside what one would use otherwise: `python -m examples.against_diffrax` from the project's root."""
