# `make run` starts Farcast, `make test` runs every check. Both first set up what they need, once.
SHELL := /bin/sh
.DEFAULT_GOAL := help

VENV ?= .venv
HOST ?= 127.0.0.1
PORT ?= 8000
# GPU=1 installs PyTorch with CUDA, GPU=0 goes back; left out, what was chosen last stays.
GPU ?=
# More options for `farcast serve` and for pytest.
ARGS ?=
PYTEST ?=

BIN := $(VENV)/bin
KIND := $(if $(GPU),$(if $(filter 0 no,$(GPU)),cpu,gpu),$(if $(wildcard $(BIN)/.server-gpu),gpu,cpu))
PINS := pyproject.toml client/python/pyproject.toml requirements/constraints.txt requirements/install.sh
WEB := client/web

.PHONY: help run test check durations lint types web-types pytest setup setup-test dist js docs clean

help: ## what this Makefile can do
	@echo "make run [PORT=8000] [HOST=127.0.0.1] [GPU=1] [ARGS='--model FOLDER']"
	@echo "make test [PYTEST='-k name']   make check"
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

run: $(BIN)/.server-$(KIND) ## set up, then serve the page with the embedded model
	@exec $(BIN)/farcast serve --host $(HOST) --port $(PORT) $(ARGS)

test: lint types web-types pytest ## set up, then lint, types and all tests

check: lint types $(BIN)/.dev-$(KIND) ## the quick gate: lint, types, tests without a browser that take at most a second each
	@$(BIN)/python -m pytest -q -m "not browser and not slow" $(PYTEST)

durations: setup-test ## which tests take over a second, to be marked `slow` (on an idle machine)
	@$(BIN)/python -m pytest -q --durations=0 --durations-min=1 -m "not browser and not slow and not nightly" $(PYTEST)

setup: $(BIN)/.server-$(KIND) ## only the set-up that `make run` needs

setup-test: $(BIN)/.dev-$(KIND) $(BIN)/.chromium $(BIN)/.players ## only the set-up that `make test` needs

lint: $(BIN)/.dev-$(KIND)
	@echo "ruff" && $(BIN)/ruff check .

types: $(BIN)/.dev-$(KIND)
	@echo "mypy" && $(BIN)/mypy

web-types: $(BIN)/.dev-$(KIND)
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory $(WEB)/node_modules/.installed && \
	    echo "tsc" && (cd $(WEB) && npm run --silent check) && cd client/js && npm run --silent check; \
	else echo "tsc skipped: npm is not installed, so the page's types are not checked"; fi

pytest: setup-test
	@$(BIN)/python -m pytest $(PYTEST)

dist: $(BIN)/.dev-$(KIND) ## build both wheels, farcast and farcast-server, into dist/
	@$(BIN)/python -m pip wheel -q --no-deps --no-build-isolation -w dist ./client/python .

js: $(WEB)/node_modules/.installed ## build the browser package, client/js/dist
	@cd client/js && npm run --silent build

docs: $(BIN)/.dev-$(KIND) ## write docs/asyncapi.json and docs/wire.schema.json anew
	@$(BIN)/farcast schema asyncapi > docs/asyncapi.json && $(BIN)/farcast schema json > docs/wire.schema.json

clean: ## remove what set-up made (the virtual environment, node_modules)
	rm -rf $(VENV) $(WEB)/node_modules tests/players/node_modules dist client/js/dist

# Stamps: each set-up step runs once, and again when what it depends on changes.
$(BIN)/.server-$(KIND): $(PINS)
	@requirements/install.sh $(VENV) server $(KIND)
	@rm -f $(BIN)/.server-* && touch $@

$(BIN)/.dev-$(KIND): $(PINS)
	@requirements/install.sh $(VENV) dev $(KIND)
	@rm -f $(BIN)/.dev-* $(BIN)/.server-* && touch $(BIN)/.server-$(KIND) $@

$(BIN)/.chromium: $(BIN)/.dev-$(KIND) requirements/chromium.sh
	@requirements/chromium.sh $(VENV) && touch $@

$(BIN)/.players: $(BIN)/.dev-$(KIND) requirements/players.sh tests/players/package.json
	@requirements/players.sh && touch $@

$(WEB)/node_modules/.installed: $(WEB)/package.json
	@echo "npm install" && cd $(WEB) && npm install --silent --no-fund --no-audit && touch node_modules/.installed
