# make book · make test · make serve · make bench · make gpu: the first one called installs what is needed into .venv

PAIR ?= pocket
TORCH ?= torch==2.13.0
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
BIN := .venv/bin

.PHONY: book test serve bench gpu clean

book: .venv/installed
	$(BIN)/predact book --pair '$(PAIR)'

test: .venv/installed
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/pytest

serve: book
	$(BIN)/python -m http.server 8000 --bind 127.0.0.1 --directory '_build/$(PAIR)/html'

bench: .venv/installed
	$(BIN)/pip install --quiet --editable '.[bench]'
	@set -e; for script in bench/*.py; do $(BIN)/python "$$script"; done

gpu: .venv/installed
	$(BIN)/pytest tests/gpu.py

clean:
	rm -rf _build

.venv/installed: pyproject.toml
	@test -n '$(PYTHON)' || { echo 'predact needs Python 3.11 or newer: make PYTHON=/path/to/python'; exit 1; }
	$(PYTHON) -m venv .venv
	@echo 'Installing PyTorch and predact into .venv; this takes some minutes, once.'
	$(BIN)/pip install --quiet $(TORCH)
	$(BIN)/pip install --quiet --editable '.[book,test]'
	@touch $@
