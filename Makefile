# jobclaim: `make help` lists what there is. Needs make, Python 3.11 or newer and, for the real endpoints, Java.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
LOCK := requirements/dev.txt
STAMP := $(VENV)/.installed
UV_VERSION := 0.13.8

.DEFAULT_GOAL := help
.PHONY: help install demo test endpoints format lint types imports check lock clean

help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-18s %s\n", $$1, $$2 }'

install: $(STAMP) ## Install the locked requirements and jobclaim itself into .venv
	@:

demo: $(STAMP) ## Watch real workers claim 100 jobs exactly once, on this machine
	@$(BIN)/jobclaim demo

test: $(STAMP) endpoints ## Run all tests
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

endpoints: $(STAMP) ## Fetch DynamoDB Local and ElasticMQ, on which the tests prove races
	@echo "Looking for DynamoDB Local and ElasticMQ (fetched once, about 100 MB) ..."
	@$(BIN)/python -m tests.support.artifacts

format: $(STAMP) ## Format the code and mend what ruff can
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

lint: $(STAMP) ## Look for mistakes and unformatted code
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(STAMP) ## Check the types (mypy, strict)
	@$(BIN)/mypy

imports: $(STAMP) ## Check that imports point down the layers
	@$(BIN)/lint-imports --no-logo

check: lint types imports ## Lint, types and imports

lock: ## Lock the newest allowed requirements, with hashes
	@echo "Resolving requirements ..."
	@test -x .cache/lock/bin/uv || { $(PYTHON) -m venv .cache/lock && .cache/lock/bin/pip install --quiet uv==$(UV_VERSION); }
	@.cache/lock/bin/uv $(LOCK_FLAGS) --upgrade --extra dev -o $(LOCK)
	@.cache/lock/bin/uv $(LOCK_FLAGS) --extra dashboard --extra otel -c $(LOCK) -o requirements/runtime.txt
LOCK_FLAGS = pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-emit-index-url --no-annotate pyproject.toml

clean: ## Remove .venv, caches and build leftovers
	@rm -rf $(VENV) .cache build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is younger than the lock: nothing is installed twice.
$(STAMP): $(LOCK) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "jobclaim needs Python 3.11 or newer; name one: make PYTHON=python3.11 ..." >&2; exit 1; }
	@test -x $(BIN)/python || { echo "Creating $(VENV) ..."; $(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "python3 -m venv failed; on Debian: apt-get install python3-venv" >&2; exit 1; }; }
	@echo "Installing the locked requirements into $(VENV) (once, about a minute) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(LOCK)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
