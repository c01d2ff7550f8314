# Each target makes the environment by itself where it is missing: Python 3.11 or newer and make are all it takes.
PYTHON ?= $(shell for name in python3 python python3.14 python3.13 python3.12 python3.11; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo test lint types docs bench format environment

help:
	@echo "make demo    recover a two-dimensional wave-speed field from sensor data"
	@echo "make test    everything that CI runs: lint, types, docs, tests"
	@echo "make lint    ruff: rules and format"
	@echo "make types   static types"
	@echo "make docs    the site, in site/"
	@echo "make bench   the benchmarks, results in results/"
	@echo "make format  let ruff mend what it can"

environment: $(READY)

$(READY): pyproject.toml
	@test -n "$(PYTHON)" || { echo "krylovpde needs Python 3.11 or newer; none was found. Install one, or name it: make PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[fit,test,docs]'
	@touch $@

demo: $(READY)
	$(BIN)/python examples/demo.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(READY)
	$(BIN)/basedpyright --pythonpath $(BIN)/python

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# The examples run at a small size as tests. The types take one core a minute, lint and site use the other; pytest comes last, so that its closing line ends the output.
test: $(READY)
	$(MAKE) -j 2 --output-sync=target lint types docs
	$(BIN)/python -m pytest -n $(WORKERS)

bench: $(READY)
	$(BIN)/python -m examples.against_diffrax
	$(BIN)/python -m examples.against_diffrax --scaling --output results/scaling.json
	$(BIN)/python -m examples.against_diffrax.work_precision --figures results
	@for name in work train alone; do $(BIN)/python -m examples.against_diffrax.paper $$name || exit 1; done
	@for name in hilbert depth smooth; do $(BIN)/python -m examples.iteration_adjoints $$name || exit 1; done
	@for name in absorbing gradients kernels memory network_laplace sparse "hypergradients logistic" "hypergradients field"; do \
		echo "== $$name"; $(BIN)/python -m examples.benchmarks.$$name || exit 1; done
