# One target for each thing a contributor does. `make` alone lists them.
#
# Needs Python 3.11 or newer with venv, git, make and gcc. Everything else goes into .venv.

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
JOBS := $(shell n=$$(nproc 2>/dev/null || echo 2); [ $$n -lt 8 ] && echo $$n || echo 8)

# The first interpreter on the path that is new enough; `make setup PYTHON=...` overrides it.
PYTHON ?= $(shell for python in python3 python3.11 python3.12 python3.13 python3.14; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$python && break; done)

# A demonstration is a score of short processes: without compiled modules each takes twice as long.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup setup-system demo test test-all lint format docs bench clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## make .venv with everything that the demo and the tests use

# Compiling all that pip brings would double the wait; the import compiles what the demo uses.
$(READY): requirements/core.txt requirements/demo.txt requirements/dev.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Wardround needs Python 3.11 or newer; found: $$(python3 --version 2>&1). README.md says what to install." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "This Python can't make virtual environments. On Debian or Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "Installing into $(VENV) (once; about a minute)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile \
		-r requirements/core.txt -r requirements/demo.txt -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--no-deps --no-build-isolation --editable .
	@$(BIN)/python -c "import sklearn.linear_model, wardround.coordinator.serve, wardround.simulation.demo, wardround.site.serve"
	@touch $@

setup-system: ## install the Debian packages that some tests use (root or sudo)
	$(if $(filter 0,$(shell id -u)),,sudo )apt-get install --yes --no-install-recommends bubblewrap

demo: setup ## four hospitals train one model on this machine, and the report opens the matter
	@$(BIN)/wardround demo

test: setup lint ## format, lint, import rules, types and the fast tests
	@$(BIN)/python -m pytest --numprocesses $(JOBS) --dist worksteal --quiet

test-all: setup lint ## the same with the slow tests
	@$(BIN)/python -m pytest --numprocesses $(JOBS) --dist worksteal --quiet --slow

lint: setup
	@$(BIN)/ruff format --check --quiet . || { echo "Unformatted files: make format" >&2; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/lint-imports --no-logo >$(VENV)/imports.txt 2>&1 || { cat $(VENV)/imports.txt >&2; exit 1; }
	@$(BIN)/mypy --no-error-summary
	@echo "Format, lint, import rules and types: fine"

format: setup ## put every file into the one format
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --quiet --fix .

docs: setup ## write the reference pages that are generated from code
	@$(BIN)/python docs/generate.py

bench: setup ## every benchmark, one table each
	@for name in $$($(BIN)/python -m benchmarks --list); do $(BIN)/python -m benchmarks $$name || exit 1; done

clean: ## remove what these targets made
	rm -rf $(VENV) build dist demo-output .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
