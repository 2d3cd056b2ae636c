# make setup | demo | test | docs | results | lowest | newest | fuzz; each works alone on a fresh machine with Python 3.11 or later. make gpu: see there.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
READY := .venv/.ready

SITE := import sysconfig; print(sysconfig.get_path("purelib"))
# tests of what auxin uses of other libraries
BORDERS := tests/cli tests/runs tests/report/test_theory_figures.py tests/report/test_figures.py tests/tasks/test_trees.py \
  tests/tasks/test_grammar.py tests/models/test_formats.py tests/models/test_families.py tests/families/test_export.py \
  tests/test_config.py tests/theory/test_phase.py tests/measures/test_grokking.py

.PHONY: setup demo test docs results lowest newest fuzz gpu

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

# the documentation, in site/; a warning is an error
docs: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# every table and figure in docs, docs/report.html and the numbers that README.md quotes, anew from docs/records
results: setup
	$(BIN)/python docs/figures/results.py

# the lowest versions that are declared, where a library's interface counts; what is not pinned is that of .venv
lowest: setup
	test -x .venv-lowest/bin/python || $(BIN)/python -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r constraints-lowest.txt -e .
	$(BIN)/python -c '$(SITE)' > $$(.venv-lowest/bin/python -c '$(SITE)')/zz-rest.pth
	.venv-lowest/bin/python -m pytest -n 2 -W default $(BORDERS)

# the newest versions that there are; what is not newer than constraints.txt is that of .venv
newest: setup
	test -x .venv-newest/bin/python || $(BIN)/python -m venv .venv-newest
	$(BIN)/python -c '$(SITE)' > $$(.venv-newest/bin/python -c '$(SITE)')/zz-rest.pth
	.venv-newest/bin/python -m pip install --quiet --disable-pip-version-check --upgrade --upgrade-strategy eager -e '.[dev]'
	@newer=$$(.venv-newest/bin/python -m pip list --format freeze --path $$(.venv-newest/bin/python -c '$(SITE)') \
	  --exclude auxin --exclude pip --exclude setuptools); \
	if [ -z "$$newer" ]; then echo "newest: those of constraints.txt, which make test tests"; \
	else echo "$$newer"; .venv-newest/bin/python -m pytest -n 2 -W default $(BORDERS); fi

# a hundred thousand damaged files for the readers, other ones every time: for a night, not for every change
fuzz: setup
	HYPOTHESIS_PROFILE=search $(BIN)/pytest -n 2 --timeout 14400 --hypothesis-show-statistics tests/reliability/test_fuzzing.py

# for a machine with a GPU, in an environment that has a torch for it: tests, speed, the published sweep (resumable)
gpu:
	PYTHONPATH=src $(PYTHON) -m pytest tests/training/test_steps.py
	PYTHONPATH=src $(PYTHON) benchmarks/ensemble.py --device cuda
	PYTHONPATH=src $(PYTHON) -m auxin study grokking --scale paper --out runs/studies/grokking-paper
