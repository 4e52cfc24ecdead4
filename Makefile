# Two commands matter: `make demo` shows the whole path on this machine, `make test` proves it.
# Each sets itself up: a virtual environment in .venv, filled from PyPI. uv is used where it is
# installed, because it is faster.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.installed

.PHONY: demo test test-all lint format clean

demo: $(READY)
	$(BIN)/python scripts/demo.py

# Two at a time: half of the time goes into waiting for servers. A file stays together, for what its
# tests share, and files come in their own order: by default those with the fewest tests, which take
# the longest, would come last.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test: $(READY)
	$(PYTEST) -m "not slow"

test-all: $(READY)
	$(PYTEST)

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
