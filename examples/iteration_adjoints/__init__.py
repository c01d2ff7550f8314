"""The adjoints of the Krylov iterations themselves: `python -m examples.iteration_adjoints` from the project's root."""
