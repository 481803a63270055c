# Each target makes the virtual environment by itself when it needs one.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test soak check lint types install benchmark benchmark-gpu

# `make demo OPEN=1` ends with the page in a browser, until Ctrl-C.
demo: $(INSTALLED)
	$(BIN)/emoclim demo $(if $(OPEN),--open)

# One process more than there are cores, for tests wait for other processes and for sockets now and then; files with few
# tests, which are often the longest, are not left to the end.
test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --dist loadfile --no-loadscope-reorder \
		-n $$($(BIN)/python -c 'import os; print((os.cpu_count() or 1) + 1)')

# Spoilt files, kills, commands at the same time, many users: all rounds, of which `make test` runs a tenth.
soak: $(INSTALLED)
	EMOCLIM_SOAK=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist load -m soak

check: lint types test

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache

types: $(INSTALLED)
	$(BIN)/mypy

# Both keep what they find in benchmarks/results/ and write docs/benchmarks.md anew.
benchmark: $(INSTALLED)
	$(BIN)/python benchmarks/suite.py --set cpu
	$(BIN)/python benchmarks/render.py

benchmark-gpu: $(INSTALLED)
	$(BIN)/python benchmarks/suite.py --set gpu
	$(BIN)/python benchmarks/render.py

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' || \
		{ echo "emoclim needs Python 3.11 or 3.12; name one: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,app,augment,faiss,media,optuna,ray,remote,slurm,tensorboard,umap]'
	touch $@
