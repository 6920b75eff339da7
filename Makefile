# `make demo` and `make test` are all it takes; both set up .venv first, once, with the versions in constraints.txt.
# Nothing is written outside .venv, .venv-official (make test-official), work_dirs and data.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
EXTRAS ?= onedl,dev,demo,transformers
LATEST ?=
WORKERS ?= 2
PYTEST_ARGS ?=
MMCV_WHEEL ?=
VENV := .venv
OFFICIAL := .venv-official
STAMP := $(VENV)/.installed
OFFICIAL_STAMP := $(OFFICIAL)/.installed
# Recursive, because test-official has another VENV.
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip install --disable-pip-version-check
PINNED = $(if $(LATEST),,--constraint constraints.txt)
CACHE = $(CURDIR)/$(VENV)/cache
PYTEST = $(BIN)/python -m pytest -o cache_dir=$(CACHE)/pytest

export PYTHONPYCACHEPREFIX = $(CACHE)/python
export RUFF_CACHE_DIR = $(CACHE)/ruff
export MYPY_CACHE_DIR = $(CACHE)/mypy
export OMP_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1

.PHONY: help venv demo test test-slow test-all test-official docs clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20
	@echo 'LATEST=1 make venv            takes the newest version of everything instead of the pinned ones'
	@echo 'PYTHON=python3.12 make venv   takes another Python; EXTRAS=openmmlab,dev the official OpenMMLab packages'

venv: $(STAMP) ## set up .venv: PyTorch, the OpenMMLab stack, the development tools

# Interrupted, it goes on where it was: the stamp is written last, and pip keeps what it has.
$(STAMP): setup.py constraints.txt
	@echo '== .venv: PyTorch, the OpenMMLab stack and the development tools (minutes on the first run)'
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(PINNED) torch torchvision
	$(PIP) $(PINNED) --editable '.[$(EXTRAS)]'
	@rm -rf build mmposenc.egg-info
	@touch $@

demo: $(STAMP) ## the whole story on photographs and digits, offline, in minutes; ends with a report
	$(BIN)/python tools/demo.py

test: $(STAMP) ## lint, types and the quick tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(PYTEST) -m 'not slow' -n $(WORKERS) --dist loadfile $(PYTEST_ARGS)

test-slow: $(STAMP) ## the tests that `make test` leaves out: several processes, kill -9, executed tutorials
	$(PYTEST) -m slow $(PYTEST_ARGS)

test-all: test test-slow ## everything

docs: $(STAMP) ## build the documentation site in work_dirs/docs
	$(BIN)/python -m sphinx -q -W --keep-going -d $(CACHE)/sphinx docs work_dirs/docs
	@echo 'done: work_dirs/docs/index.html'

test-official $(OFFICIAL_STAMP): VENV := $(OFFICIAL)
test-official: $(OFFICIAL_STAMP) ## the quick tests and the guide on detectors on the official OpenMMLab packages in .venv-official; MMCV_WHEEL=FILE avoids compiling mmcv
	$(PYTEST) -m 'not slow' -n $(WORKERS) --dist loadfile $(PYTEST_ARGS)
	$(PYTEST) tests/docs/test_guides.py -k detectors

# mmcv and mmengine import pkg_resources, which newer setuptools no longer have. setup.py of mmcv 2.1.0 says C++17, the
# headers of PyTorch 2.14 need C++20. Interrupted, the compilation goes on where it was.
$(OFFICIAL_STAMP): setup.py constraints.txt
	@echo '== $(VENV): PyTorch and the official OpenMMLab packages (minutes on the first run)'
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(PINNED) torch torchvision 'setuptools<81'
ifdef MMCV_WHEEL
	$(PIP) $(PINNED) '$(MMCV_WHEEL)'
else
	@echo '== mmcv 2.1.0 from its source archive: about 25 minutes on 2 cores; MMCV_WHEEL=FILE takes a wheel instead'
	$(PIP) ninja
	$(BIN)/python -m pip download --no-build-isolation --no-binary mmcv --no-deps --dest $(VENV)/source mmcv==2.1.0
	tar -xzf $(VENV)/source/mmcv-2.1.0.tar.gz -C $(VENV)/source
	sed -i 's/c++17/c++20/' $(VENV)/source/mmcv-2.1.0/setup.py
	PATH="$(CURDIR)/$(BIN):$$PATH" $(PIP) --no-build-isolation $(VENV)/source/mmcv-2.1.0
endif
	$(PIP) $(PINNED) mmengine==0.10.7 mmcv==2.1.0 mmsegmentation==1.2.2 mmpretrain==1.2.0 mmdet==3.3.0 --editable '.[mmdet,dev]'
	@rm -rf build mmposenc.egg-info
	@touch $@

clean: ## remove the demo's results, caches and build leftovers; trainings in work_dirs, data and .venv stay
	rm -rf work_dirs/demo build dist mmposenc.egg-info $(CACHE) .pytest_cache .ruff_cache .mypy_cache
	find . -path './.venv*' -prune -o -path ./data -prune -o -name __pycache__ -type d -exec rm -rf {} +
