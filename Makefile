.DEFAULT_GOAL := help
SHELL := /bin/bash

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help setup demo test tools lint bench serve migrate lock clean

help: ## Say what each target does
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

setup: $(VENV)/ready ## Make the virtual environment, with pinned and hashed packages

$(VENV)/ready: requirements/dev.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	@echo "installing packages (a minute on a first run)"
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup ## Load a simulated building on the embedded database and check the answers
	$(BIN)/occupancy demo

serve: setup ## Run the service on the embedded database until Ctrl-C
	$(BIN)/occupancy db start
	$(BIN)/occupancy serve; status=$$?; $(BIN)/occupancy db stop; exit $$status

migrate: setup ## Bring the database of OCCUPANCY_DATABASE_URL (or the embedded one) to today's schema
	$(BIN)/occupancy migrate

test: setup ## Run the tests; those for OCCUPANCY_TEST_DATABASE_URL only where it is set
	$(BIN)/pytest --numprocesses 3 --dist worksteal

tools: setup .venv-tools/ready ## Run psql, DuckDB, pandas and dbt on OCCUPANCY_TEST_DATABASE_URL
	$(BIN)/pytest tests/tools

.venv-tools/ready: requirements/tools.lock
	$(PYTHON) -m venv .venv-tools
	@echo "installing the tools (some minutes on a first run)"
	.venv-tools/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/tools.lock
	@touch $@

lint: setup ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup ## Measure count_at on OCCUPANCY_TEST_DATABASE_URL
	$(BIN)/python -m benchmarks count_at

lock: setup ## Pin all packages anew (needs uv)
	uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --quiet \
	  --output-file requirements/runtime.lock
	uv pip compile pyproject.toml --group dev --extra embedded --extra benchmark --universal --python-version 3.11 \
	  --generate-hashes --no-header --no-annotate --quiet --output-file requirements/dev.lock
	uv pip compile --group tools --universal --python-version 3.11 --no-strip-extras --generate-hashes --no-header \
	  --no-annotate --quiet --output-file requirements/tools.lock

clean: ## Remove the virtual environment and the embedded database with its data
	-$(BIN)/occupancy db stop
	rm -rf $(VENV) .venv-tools .occupancy
