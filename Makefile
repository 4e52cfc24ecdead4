# Two commands matter: `make demo` shows the whole path on this machine, `make test` proves it.
# Each sets itself up: a virtual environment in .venv, filled from PyPI. uv is used where it is
# installed, because it is faster.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.installed

# The container's conditions without the container: its Python, numpy 2, the packages of its image.
PYTHON312 ?= $(or $(lastword $(wildcard $(HOME)/.pyenv/versions/3.12.*/bin/python3.12)),python3.12)
CONTAINER := .venv-container

# Helm, kubectl and Prometheus, for the checks of deploy/.
TOOLS := .tools

# axe-core, for pages.
PAGE := $(TOOLS)/page

.PHONY: demo test test-all torture test-page test-milvus test-stores container-conditions lint format clean

demo: $(READY)
	$(BIN)/python scripts/demo.py

# Two at a time: half of the time goes into waiting for servers. A file stays together, for what its
# tests share, and files come in the order of tests/conftest.py: by default those with the fewest
# tests, which take the longest, would come last. What took longest is said at the end, so that growth is seen. PyTorch's
# own threads would be four on two cores, and wait for each other.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=20

test: $(READY) $(TOOLS)/.installed
	$(PYTEST) -m "not slow and not browser"

test-all: $(READY) $(TOOLS)/.installed $(PAGE)/.installed $(CONTAINER)/.installed test-milvus
	$(PYTEST)

# Pages in Chromium, which `apt-get install chromium` brings.
test-page: $(READY) $(PAGE)/.installed
	$(BIN)/python -m pytest -m browser tests/gateway/page tests/search

# Milvus listens on all addresses, so it gets a network of its own, which has none but loopback.
test-milvus: $(READY)
	unshare --net --map-root-user sh -c \
	  'ip link set lo up && $(BIN)/python -m pytest tests/search/stores -k "milvus and not lite"'

# Servers broken again and again under load for TORTURE_SECONDS, sent TORTURE_ITEMS broken pictures and as
# many texts, and TORTURE_REQUESTS requests: hours in all. Short forms are in `make test`.
torture: $(READY)
	TORTURE_SECONDS=$${TORTURE_SECONDS:-1200} TORTURE_ITEMS=$${TORTURE_ITEMS:-100000} \
	TORTURE_REQUESTS=$${TORTURE_REQUESTS:-1000000} $(BIN)/python -m pytest tests/torture -s

# The Dockerfile's packages are found for the image's Python, and the served models run on them.
container-conditions: $(READY) $(CONTAINER)/.installed
	$(CONTAINER)/bin/python -m pip install --quiet --dry-run --target $(CONTAINER)/none \
	  --only-binary=:all: --python-version 3.12 --platform manylinux_2_28_x86_64 \
	  --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
	  --requirement model_repository/requirements.txt
	$(BIN)/python -m pytest tests/container

# What every store of archives does, asked of real servers in Docker.
STORES := docker compose --file tests/search/stores/compose.yaml
test-stores: $(READY)
	$(STORES) up --detach --wait
	POSTGRESQL_URL=postgresql://postgres:for-tests@127.0.0.1/postgres \
	MILVUS_URL=milvus://root:Milvus@127.0.0.1 \
	QDRANT_URL=qdrant://:for-tests@127.0.0.1 \
	WEAVIATE_URL=weaviate://:for-tests@127.0.0.1 \
	$(BIN)/python -m pytest tests/search/stores; status=$$?; $(STORES) down --volumes; exit $$status

lint: $(READY) $(TOOLS)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/hadolint Dockerfile deploy/images/*.Dockerfile
	$(TOOLS)/helm lint --strict --quiet deploy/chart

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(CONTAINER) $(TOOLS) build dist

$(READY): pyproject.toml
	@scripts/install.sh "$(PYTHON)" "$(VENV)"
	@touch $@

$(TOOLS)/.installed: scripts/cluster_tools.sh $(READY)
	@scripts/cluster_tools.sh $(BIN)/python $(TOOLS)
	@touch $@

$(PAGE)/.installed: $(READY)
	@mkdir -p $(PAGE)
	@npm install --silent --no-save --no-package-lock --prefix $(PAGE) axe-core@4.10.3 || \
	  echo "no npm here: what axe-core asks of the page is not tested"
	@touch $@

$(CONTAINER)/.installed: model_repository/requirements.txt
	$(PYTHON312) -m venv $(CONTAINER)
	$(CONTAINER)/bin/python -m pip install --quiet --requirement $<
	@touch $@
