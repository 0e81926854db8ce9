# The virtual environment is made once and again when pyproject.toml changes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?=

# A cross compiler on PATH is preferred; otherwise the compiler comes from PyPI.
COMPILER := $(if $(shell command -v arm-none-eabi-gcc),gcc,zig)
INSTALLED := $(VENV)/installed-$(COMPILER)
TESTED := $(VENV)/tested-$(COMPILER)
DIGITS := examples/digits

.DEFAULT_GOAL := help
.PHONY: help demo test check bench clean
.DELETE_ON_ERROR:

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' $(firstword $(MAKEFILE_LIST))

demo: $(INSTALLED) ## compile the example network for a Cortex-M4 and run it on the emulator
	$(BIN)/tinycc-nn compile $(DIGITS)/digits.onnx -o build/digits -mcpu=cortex-m4 \
		--calib $(DIGITS)/calib.npz --eval $(DIGITS)/test.npz

test: check ## format check, lint, types, tests: what CI runs
	$(BIN)/python -m pytest -n 2 $(if $(DATA),--data=$(DATA)) tests

check: $(TESTED) ## format check, lint and types only
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

bench: $(TESTED) ## run the benchmarks: make bench DATA=folder
	set -e; for file in $(filter-out benchmarks/tuned_database.py,$(wildcard benchmarks/*.py)); do $(BIN)/python $$file $(if $(DATA),--data $(DATA)); done

clean: ## remove the virtual environment and what was built
	rm -rf $(VENV) build

$(BIN)/python:
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed"'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1' # the first with --group

$(INSTALLED): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.$(if $(filter zig,$(COMPILER)),[zig])'
	touch $@

$(TESTED): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --group test
	touch $@
