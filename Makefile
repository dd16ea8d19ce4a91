# One command per habit. `make help` lists them.
#
# The environment lives in .venv and is made once; it is made again when another Python is asked
# for (PYTHON=python3.12 make setup) and brought up to date when pyproject.toml changes.

.DEFAULT_GOAL := help
.PHONY: setup demo test check faults bench fmt docs clean help

# Once there is an environment its Python stays the one in use, whatever python3 is elsewhere.
PYTHON ?= $(if $(wildcard .venv/.stamp-*),.venv/bin/python,python3)
PY_VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp-$(PY_VERSION)
PYTEST := $(BIN)/python -m pytest

# A program written for this package's api, which tests run as it is. It asks for more of its own
# dependencies than the tests need.
AGENT := abstractagent==0.2.0

# More arguments for demo, test, faults, bench and docs: make test ARGS="-k mailbox"
ARGS ?=

# What of the long tests to run, and by how many processes: all of it is one pytest summary.
PART ?= tests
WORKERS ?= 2

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "abstractruntime needs Python 3.11 or newer, and '$(PYTHON)' is" \
			"$$($(PYTHON) --version 2>/dev/null || echo 'not there')." \
			"Name another one: PYTHON=python3.12 make setup" >&2; \
		exit 1; }
	@[ -e $@ ] || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $(AGENT)
	@touch $@

setup: $(STAMP)  ## make .venv with the package (editable) and everything the checks need

demo: setup  ## run the demo; ARGS="--answer approve" answers its question for you
	$(BIN)/abstractruntime demo $(ARGS)

test: setup  ## run the tests that fit continuous integration
	$(PYTEST) -n 2 --dist loadgroup -m "not faults and not bench" $(ARGS)

check: setup  ## lint, format, types, layers and the architecture tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST) tests/architecture

faults: setup  ## the long tests: the same code, bigger numbers, hours; PART=tests/faults for some
	$(PYTEST) -n $(WORKERS) -m faults --timeout=900 $(PART) $(ARGS)

bench: setup  ## measure
	$(BIN)/python -m bench $(ARGS)

fmt: setup  ## format, and fix what can be fixed without thought
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: setup  ## check every page: its links resolve, its snippets run
	$(PYTEST) tests/documents $(ARGS)

clean:  ## remove the environment, caches and builds
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache \
		mutants dist build
	find . -path ./.git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

help:  ## this list
	@awk -F ':.*##' '/^[a-z]+:.*##/ {printf "  make %-8s %s\n", $$1, $$2}' Makefile
