# make book · make lab · make pdf · make slides · make test · make serve · make bench · make gpu · make install: the first one called
# installs what is needed into .venv: the newest versions, or with LOCKED=1, as in CI, those of requirements.lock, which make lock makes

PAIR ?= pocket
SCALE ?=
TORCH ?= torch==2.13.0
LOCKED ?= $(CI)
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
BIN := .venv/bin
INSTALL := $(BIN)/pip install --quiet --no-compile --disable-pip-version-check $(if $(LOCKED),--constraint requirements.lock)
unexport PYTHONDONTWRITEBYTECODE # pip compiles nothing here: each module is compiled once, when it is first imported

.PHONY: book lab pdf slides install test gpu serve bench lock clean

book: .venv/installed
	$(BIN)/predact book --pair '$(PAIR)' --scale '$(SCALE)'

install: .venv/installed

lab: .venv/lab-installed
	$(BIN)/predact lab --pair '$(PAIR)'

test: .venv/test-installed
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/pytest

gpu: .venv/test-installed
	$(BIN)/pytest tests/gpu.py -n 0 -s

slides: book
	$(BIN)/python -m nbconvert --to slides --log-level WARN --TemplateExporter.extra_template_basedirs=book --template slides \
		--output-dir '_build/$(PAIR)/html' --output lesson '_build/$(PAIR)/notebooks/a3_lesson.ipynb'
	@echo "The deck: _build/$(PAIR)/html/lesson.slides.html"

pdf: book
	$(INSTALL) --editable '.[pdf]'
	$(BIN)/predact pdf --pair '$(PAIR)'

serve: book
	$(BIN)/python -m http.server 8000 --bind 127.0.0.1 --directory '_build/$(PAIR)/html'

bench: .venv/test-installed
	$(INSTALL) --editable '.[bench]'
	@set -e; for script in bench/*.py; do $(BIN)/python "$$script"; done

# For every system and Python at once. CUDA is left out: each build of PyTorch names its own.
lock:
	$(PYTHON) -m venv _build/lock
	_build/lock/bin/pip install --quiet --disable-pip-version-check uv
	echo '$(firstword $(TORCH))' | _build/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --all-extras \
		--no-annotate --custom-compile-command 'make lock' pyproject.toml - > _build/lock/all
	grep -Ev '^(cuda|nvidia|triton)\b' _build/lock/all > requirements.lock

clean:
	rm -rf _build

.venv/installed: pyproject.toml $(if $(LOCKED),requirements.lock)
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
