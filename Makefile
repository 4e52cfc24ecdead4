# Two commands matter: `make demo` shows the whole path on this machine, `make test` proves it.
# Each sets itself up: a virtual environment in .venv, filled from PyPI. uv is used where it is
# installed, because it is faster.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.installed

.PHONY: demo test lint format clean

demo: $(READY)
	$(BIN)/python scripts/demo.py

test: $(READY)
	$(BIN)/python -m pytest

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist

$(READY): pyproject.toml
	@scripts/install.sh "$(PYTHON)" "$(VENV)"
	@touch $@
