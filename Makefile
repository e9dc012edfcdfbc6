# make book · make lab · make test · make serve · make bench · make gpu: the first one called installs what is needed into .venv

PAIR ?= pocket
SCALE ?=
TORCH ?= torch==2.13.0
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
BIN := .venv/bin
INSTALL := $(BIN)/pip install --quiet --no-compile --disable-pip-version-check
unexport PYTHONDONTWRITEBYTECODE # pip compiles nothing here: each module is compiled once, when it is first imported

.PHONY: book lab test gpu serve bench clean

book: .venv/installed
	$(BIN)/predact book --pair '$(PAIR)' --scale '$(SCALE)'

lab: .venv/lab-installed
	$(BIN)/predact lab --pair '$(PAIR)'

test: .venv/test-installed
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/pytest

gpu: .venv/test-installed
	$(BIN)/pytest tests/gpu.py -n 0 -s

serve: book
	$(BIN)/python -m http.server 8000 --bind 127.0.0.1 --directory '_build/$(PAIR)/html'

bench: .venv/test-installed
	$(INSTALL) --editable '.[bench]'
	@set -e; for script in bench/*.py; do $(BIN)/python "$$script"; done

clean:
	rm -rf _build

.venv/installed: pyproject.toml
	@test -n '$(PYTHON)' || { echo 'predact needs Python 3.11 or newer: make PYTHON=/path/to/python'; exit 1; }
	$(PYTHON) -m venv .venv
	@echo 'Installing PyTorch and predact into .venv; this takes some minutes, once.'
	$(INSTALL) $(TORCH)
	$(INSTALL) --editable '.[book]'
	@touch $@

.venv/lab-installed: .venv/installed
	$(INSTALL) --editable '.[book,lab]'
	@touch $@

.venv/test-installed: .venv/installed
	$(INSTALL) --editable '.[book,lab,test]'
	@touch $@
