# Onelane. `make demo` and `make test` create their own environment; a second run is fast.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
DEV_STAMP := $(VENV)/.dev-stamp
SLOW := acceptance bench chaos guarantees packaging simulation
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help demo up test unit packaging lowest pythons simulation guarantees acceptance chaos chaos-short bench lint types contracts format bench-engine clean

help: ## Show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "Onelane needs Python 3.11 or newer: make PYTHON=/path/to/python"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(STAMP): pyproject.toml | $(BIN)/python
	@echo "Installing Onelane into $(VENV) …"
	$(PIP) install --editable '.[all]'
	@touch $@

$(DEV_STAMP): pyproject.toml | $(BIN)/python
	@echo "Installing Onelane and its development tools into $(VENV) …"
	$(PIP) install --editable '.[dev]'
	@touch $(STAMP) $@

demo: $(STAMP) ## Play the user's stories twice: find-then-create, and Onelane
	$(BIN)/onelane demo

up: $(STAMP) ## Everything local: Redis, Intercom sandbox, worker, Flower
	$(BIN)/onelane up

test: lint types contracts unit packaging lowest simulation chaos-short guarantees acceptance ## Everything that must hold, on a real server and real processes

unit: $(DEV_STAMP) ## The fast part of the tests
	$(BIN)/python -m pytest --numprocesses auto $(addprefix --ignore=tests/,$(SLOW))

packaging: $(DEV_STAMP) ## The wheel, installed in fresh environments beside other people's code
	$(BIN)/python -m pytest tests/packaging

lowest: $(DEV_STAMP) ## The fast tests with the lowest allowed versions of all dependencies
	$(BIN)/nox --session lowest

pythons: $(DEV_STAMP) ## The fast tests on each Python from 3.11 to 3.14 that is here
	$(BIN)/nox --session pythons

simulation: $(DEV_STAMP) ## 10,000 random histories in virtual time; some minutes
	$(BIN)/python -m tests.simulation --histories 10000
	$(BIN)/python -m pytest tests/simulation

guarantees: $(DEV_STAMP) ## Every promise broken on purpose, and its test noticing
	$(BIN)/python -m pytest tests/guarantees

acceptance: $(DEV_STAMP) ## Scenarios and commands on real processes
	$(BIN)/python -m pytest tests/acceptance tests/bench

chaos: $(DEV_STAMP) ## 20 kills over 5,000 intents on real processes; some minutes
	$(BIN)/python -m tests.chaos

chaos-short: $(DEV_STAMP) ## The same in half a minute
	$(BIN)/python -m pytest tests/chaos

lint: $(DEV_STAMP) ## Style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DEV_STAMP) ## mypy, strict
	$(BIN)/mypy

contracts: $(DEV_STAMP) ## Imports point one way
	$(BIN)/lint-imports

format: $(DEV_STAMP) ## Put the code into its form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(DEV_STAMP) ## What each way of writing contacts costs: duplicates, lost updates, calls, time; some minutes
	$(BIN)/python -m bench.compare

bench-engine: $(DEV_STAMP) ## How fast the engine is beside plain Celery, on this machine; some minutes
	$(BIN)/python -m bench.engine

clean: ## Remove the environment and all caches
	rm -rf $(VENV) .nox .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info
