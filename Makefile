# make setup | demo | test | fuzz; each works alone on a fresh machine with Python 3.11 or later. make gpu: see there.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
READY := .venv/.ready

.PHONY: setup demo test fuzz gpu

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: setup
	$(BIN)/auxin demo

test: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright
	$(BIN)/pytest -n 2

# a hundred thousand damaged files for the readers, other ones every time: for a night, not for every change
fuzz: setup
	HYPOTHESIS_PROFILE=search $(BIN)/pytest -n 2 --timeout 14400 tests/reliability/test_fuzzing.py

# for a machine with a GPU, in an environment that has a torch for it: tests, speed, the published sweep (resumable)
gpu:
	PYTHONPATH=src $(PYTHON) -m pytest tests/training/test_stacked.py
	PYTHONPATH=src $(PYTHON) benchmarks/ensemble.py --device cuda
	PYTHONPATH=src $(PYTHON) -m auxin study grokking --scale paper --out runs/studies/grokking-paper
