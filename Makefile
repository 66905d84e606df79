# `make` alone lists what can be done. Everything lives in .venv; nothing is installed elsewhere.
#
#   make run  ARGS="--port 9000"          arguments go through
#   make test ARGS="-k retry -x"          to pytest
#   make PYTHON=python3.13 setup          another interpreter
#
# The project itself is put into .venv by a .pth file and a two-line launcher, not by `pip install -e`:
# an editable install needs the build backend, which pip fetches into an isolated environment of its own,
# outside the hashed lock. A .pth needs nothing, takes no time and cannot fail.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

PYTHON ?= $(firstword $(foreach p,python3.13 python3.12 python3.14 python3.11 python3,\
            $(if $(shell command -v $(p) >/dev/null 2>&1 && $(p) -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo y),$(p))))
VENV   := .venv
BIN    := $(VENV)/bin
# Wheels only: an install never compiles. No dependency resolution: the lock is complete. -qq: errors only.
PIP    := $(BIN)/python -m pip install -qq --disable-pip-version-check --only-binary :all: --no-deps --require-hashes
LOCK   := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
            --no-emit-index-url --custom-compile-command "make lock"
# pyright would ask the package index whether it is the newest; it is the one we locked.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.DEFAULT_GOAL := help
.PHONY: help run test test-ray lint types imports unit coverage bench docs setup setup-dev lock wheel changelog clean

help: ## this list
	@echo "Stanchion. First steps: 'make run', then open http://127.0.0.1:8080/"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "Arguments go through with ARGS, e.g. make run ARGS='--port 9000', make test ARGS='-k retry -x'."

run: $(VENV)/.run ## serve on 127.0.0.1:8080; without a provider key the built-in simulator answers
	@exec $(BIN)/stanchion serve $(ARGS)

test: $(VENV)/.ray lint types imports unit ## all of it: lint, types, import contracts, pytest

lint: $(VENV)/.dev ## ruff: rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/.dev ## pyright, strict for src
	@$(BIN)/pyright

imports: $(VENV)/.dev ## import-linter: who may import whom
	@$(BIN)/lint-imports --no-cache

unit: $(VENV)/.dev ## pytest alone; what needs Ray is skipped until `make test` has brought it
	@$(BIN)/python -m pytest $(ARGS)

test-ray: $(VENV)/.ray ## the tests of batches on Ray alone
	@$(BIN)/python -m pytest tests/acceptance/test_batch_ray.py $(ARGS)

coverage: $(VENV)/.dev ## pytest under coverage, with the lines that no test reached
	@$(BIN)/python -m coverage run -m pytest $(ARGS)
	@$(BIN)/python -m coverage combine --quiet || true
	@$(BIN)/python -m coverage report

bench: $(VENV)/.dev ## benchmarks, each beside its reference in the same run
	@$(BIN)/python -m benchmarks $(ARGS)

docs: $(VENV)/.dev ## build the documentation into site/
	@$(BIN)/zensical build --clean --strict $(ARGS)

setup: $(VENV)/.run ## .venv with what running needs
	@echo "ready: $(BIN)/stanchion --help"

setup-dev: $(VENV)/.dev ## .venv with what developing needs, too
	@echo "ready: make test"

lock: $(VENV)/.dev ## resolve anew into requirements/*.txt (make lock ARGS="--upgrade" takes newer releases)
	@$(LOCK) $(ARGS) -o requirements/run.txt pyproject.toml
	@$(LOCK) $(ARGS) -o requirements/build.txt --group build
	@$(LOCK) $(ARGS) -c requirements/run.txt pyproject.toml --group dev --extra aws --extra openai --extra otel --extra parquet --extra postgres --extra redis --extra semantic -o requirements/dev.txt
	@$(LOCK) $(ARGS) -c requirements/dev.txt pyproject.toml --extra ray --extra redis -o requirements/ray.txt

wheel: $(VENV)/.dev ## build the wheel and the source archive into dist/
	@$(BIN)/python -m hatchling build

changelog: $(VENV)/.dev ## what the next release's notes would say
	@$(BIN)/towncrier build --draft --version next

clean: ## remove .venv, caches and everything built
	rm -rf $(VENV) site dist .cache .pytest_cache .ruff_cache .hypothesis .coverage .coverage.* htmlcov
	find src tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# --- stamps: newer than their lock means nothing to do ------------------------------------------------

$(VENV)/.python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed, and none was found. Install one, or: make PYTHON=/path/to/python3"; exit 1; }
	@echo "creating $(VENV) with $(PYTHON)"
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "'$(PYTHON) -m venv' failed; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@echo '../../../../src' > "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/stanchion.pth"
	@printf '%s\n' '#!/bin/sh' "'''exec' \"\$$(dirname \"\$$0\")/python\" \"\$$0\" \"\$$@\" # sh reads this line, Python a string" \
	  "'''" 'import sys' 'from stanchion.cli.main import main' 'sys.exit(main())' > $(BIN)/stanchion
	@chmod +x $(BIN)/stanchion
	@touch $@

$(VENV)/.run: requirements/run.txt | $(VENV)/.python
	@echo "installing requirements/run.txt"
	@$(PIP) -r requirements/run.txt
	@touch $@

$(VENV)/.dev: requirements/dev.txt requirements/build.txt | $(VENV)/.python
	@echo "installing requirements/dev.txt"
	@$(PIP) -r requirements/build.txt
	@$(PIP) --no-binary forbiddenfruit --no-build-isolation -r requirements/dev.txt
	@touch $@ $(VENV)/.run

# Ray has wheels for CPython 3.11 to 3.14; where there is none its tests are skipped, and say so.
$(VENV)/.ray: requirements/ray.txt $(VENV)/.dev
	@if $(BIN)/python -c 'import sys; sys.exit(sys.version_info >= (3, 15))'; then \
	  echo "installing requirements/ray.txt"; $(PIP) -r requirements/ray.txt; \
	else echo "Ray has no wheels for this Python: its tests will be skipped"; fi
	@touch $@
