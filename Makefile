# `make demo` and `make test` are all it takes; both set up .venv first, once.
# Nothing is written outside .venv, work_dirs and data.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
EXTRAS ?= onedl,dev
PYTEST_ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CACHE := $(CURDIR)/$(VENV)/cache

export PYTHONPYCACHEPREFIX := $(CACHE)/python
export RUFF_CACHE_DIR := $(CACHE)/ruff
export MYPY_CACHE_DIR := $(CACHE)/mypy
export HYPOTHESIS_STORAGE_DIRECTORY := $(CACHE)/hypothesis
export OMP_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1

.PHONY: help venv demo test clean

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 12
	@echo 'PYTHON=python3.12 make venv   takes another Python (3.10 or later); EXTRAS=openmmlab,dev the official OpenMMLab packages'

venv: $(STAMP) ## set up .venv with PyTorch and the OpenMMLab stack (once, and again when setup.py changes)

# Interrupted, it goes on where it was: the stamp is written last, and pip keeps what it has.
$(STAMP): setup.py
	@echo '== .venv: PyTorch, the OpenMMLab stack and the development tools (minutes on the first run)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check torch torchvision
	$(BIN)/python -m pip install --disable-pip-version-check --editable '.[$(EXTRAS)]'
	@rm -rf build mmposenc.egg-info
	@touch $@

demo: $(STAMP) ## the whole story on real handwritten digits, offline, in minutes; ends with a report
	@echo '== demo: position information in channels, on handwritten digits'
	$(BIN)/python tools/demo.py

test: $(STAMP) ## lint, types and tests
	@echo '== ruff'
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@echo '== mypy'
	$(BIN)/mypy
	@echo '== pytest'
	$(BIN)/python -m pytest -o cache_dir=$(CACHE)/pytest $(PYTEST_ARGS)

clean: ## remove the demo's results, caches and build leftovers; trainings in work_dirs, data and .venv stay
	rm -rf work_dirs/demo build dist mmposenc.egg-info $(CACHE) .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -path ./$(VENV) -prune -o -path ./data -prune -o -name __pycache__ -type d -exec rm -rf {} +
