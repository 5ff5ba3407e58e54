# Needs make, git and Python 3.11 or newer with venv; everything else is installed into .venv.
# Relative paths throughout, so that a folder with a space in its name works.

PYTHON ?= python3
BIN    := .venv/bin
# What the exact versions in constraints.txt were frozen with.
PIP    := pip==26.0

# Where PyTorch comes from, if not from the usual index, whose builds bring gigabytes of CUDA along:
# the index of its CPU builds, as its own page of installations names it. Nothing else comes from it.
TORCH_INDEX ?=
TORCH := $(if $(TORCH_INDEX),$(BIN)/python -m pip install --quiet -c constraints.txt --no-deps --index-url '$(TORCH_INDEX)' torch torchvision)

export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help demo install dev test test-postgres test-soak check docs links bench bench-scale clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

demo: .venv/.installed  ## set up everything and show text find images and images find text
	$(BIN)/pipeline demo

install: .venv/.installed  ## install the package into .venv

dev: .venv/.installed-dev  ## install what the tests and checks need as well

test: .venv/.installed-dev  ## the whole suite
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile $(TESTARGS)

# What any server must pass; TEST_POSTGRES is the folder of its initdb, postgres and psql.
ANY_SERVER := $(addprefix tests/integration/test_,$(addsuffix .py,add adoption command_rights doctor \
	items_checks load_first migrate_as_guest migrations old_pgvector opening packed probes query_vectors \
	queue rescan search serve spaces spaces_activation spaces_build sql_functions sql_install sql_roles \
	sql_search transfer worker))

test-postgres: .venv/.installed-dev  ## the tests of SQL on the PostgreSQL whose programs TEST_POSTGRES names
	@test -x "$(TEST_POSTGRES)/postgres" || { echo "set TEST_POSTGRES to a folder with postgres in it" >&2; exit 1; }
	TEST_POSTGRES="$(TEST_POSTGRES)" $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile $(ANY_SERVER) $(TESTARGS)

test-soak: .venv/.installed-dev  ## the long and destructive tests at full size
	TEST_STARTS=whole $(BIN)/python -m pytest -m soak --timeout 3600 $(TESTARGS)

check: .venv/.installed-dev  ## formatting, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# A warning is an error: a link that leads nowhere, a page that no list names, a docstring that cannot be read.
# All of it anew, since a page may say what the code says that changed.
SITE ?= build/site

docs: .venv/.installed-dev  ## the documents as a site in SITE (build/site)
	$(BIN)/python -m sphinx --quiet --fresh-env --fail-on-warning --keep-going -c docs . "$(SITE)"
	@echo "see $(SITE)/index.html"

links: .venv/.installed-dev  ## whether the documents' links to other hosts lead somewhere
	$(BIN)/python -m sphinx --quiet -b linkcheck -c docs . build/links

bench: .venv/.installed-dev  ## the benchmarks, each prints its ratios (benchmarks/README.md)
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.scale --reduced --folder "$$(mktemp -d)"

# Data and results stay in FOLDER, so that it may be stopped and run again.
FOLDER ?= bench-scale

bench-scale: .venv/.installed-dev  ## every table of docs/scaling.md at full size, in FOLDER: many hours
	$(BIN)/python -m benchmarks.scale --folder "$(FOLDER)"

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name it: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "this Python lacks venv; on Debian: apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet '$(PIP)'

.venv/.installed: .venv/bin/python pyproject.toml constraints.txt
	@echo "installing the package with exact versions (PyTorch is large: a few minutes)"
	$(TORCH)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[embed,server,web]'
	@touch $@

.venv/.installed-dev: .venv/.installed
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[all]' --group dev --group docs
	# The reference for R@k; without what the rest of it would bring along.
	$(BIN)/python -m pip install --quiet --no-deps clip-benchmark==1.6.2
	@touch $@

clean:  ## remove .venv and what the tools left behind
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
