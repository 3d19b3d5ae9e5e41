# jobclaim: `make help` lists what there is. Needs make, Python 3.11 or newer and, for the real endpoints, Java.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
LOCK := requirements/dev.txt
STAMP := $(VENV)/.installed
UV_VERSION := 0.13.8
UV := .cache/lock/bin/uv
TOOLS := .cache/tools

.DEFAULT_GOAL := help
.PHONY: help install demo test thorough compiled quick endpoints tools templates image pin release format lint types imports check docs lock oldest versions clean

help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-18s %s\n", $$1, $$2 }'

install: $(STAMP) ## Install the locked requirements and jobclaim itself into .venv
	@:

demo: $(STAMP) ## Watch real workers claim 100 jobs exactly once, on this machine
	@$(BIN)/jobclaim demo

test: $(STAMP) endpoints tools compiled ## Run all tests
	@$(PYTEST)
thorough: $(STAMP) endpoints compiled ## Run the tests with seeds, examples or crowds again, with four times as many
	@THOROUGH=1 $(PYTEST) -m "thorough or hypothesis"
PYTEST = $(CACHING) $(BIN)/python -m pytest $(PYTEST_ARGS) \
	--numprocesses $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder
# Most tests of processes wait: more of them than cores run at a time.
TEST_PROCESSES ?= 6
# Where the environment forbids bytecode files, each of the many processes would compile everything again.
CACHING := env -u PYTHONDONTWRITEBYTECODE
compiled: $(STAMP)
	@$(CACHING) $(BIN)/python -m compileall -q src/jobclaim $(wildcard src/jobclaim/*/) tests examples bench

quick: $(STAMP) ## Run the unit tests that start no process and draw no page, for the inner loop
	@$(CACHING) $(BIN)/python -m pytest $(PYTEST_ARGS) --numprocesses 2 --dist loadfile -m "not real and not browser" $(QUICK)
QUICK = $(wildcard tests/unit/test_jobs_*.py tests/unit/test_recovery_*.py tests/unit/test_settings*.py \
	tests/unit/test_task_*.py tests/unit/test_installation.py tests/unit/test_events.py tests/unit/test_guarantees.py)

versions: $(STAMP) endpoints $(UV) ## Test with the oldest and the newest Celery and Python, each in a venv
	@$(BIN)/python -m tests.versions $(PYTEST_ARGS)

endpoints: $(STAMP) ## Fetch DynamoDB Local, ElasticMQ and axe-core, which the tests need
	@echo "Looking for DynamoDB Local, ElasticMQ and axe-core (fetched once, about 100 MB) ..."
	@$(BIN)/python -m tests.support.artifacts

tools: $(TOOLS)/.installed ## Install cfn-lint, SAM, hadolint and checkov into venvs of their own
	@:

templates: $(STAMP) tools ## Check template.yaml and the Dockerfile, offline
	@$(BIN)/jobclaim template --check
	@$(TOOLS)/sam/bin/cfn-lint -- template.yaml
	@$(SAM) validate --lint --region us-east-1
	@$(SAM) build --region us-east-1 --build-dir .cache/sam >/dev/null
	@$(TOOLS)/checkov/bin/checkov --config-file .checkov.yaml
	@$(TOOLS)/sam/bin/hadolint Dockerfile
SAM = SAM_CLI_TELEMETRY=0 __SAM_CLI_TELEMETRY_DISABLED=1 $(TOOLS)/sam/bin/sam

pin: ## Ask the registry for the newest digest of the base image; commit deploy/base-image
	@digest=$$(docker buildx imagetools inspect $(BASE) --format '{{.Manifest.Digest}}') && \
		echo "$(BASE)@$$digest" >deploy/base-image && cat deploy/base-image

image: ## Build the image of workers, beat and recovery (needs Docker; make pin first)
	@test -s deploy/base-image || { echo "deploy/base-image is missing: run make pin, look at it and commit it" >&2; exit 1; }
	docker build --build-arg BASE="$$(cat deploy/base-image)" --tag jobclaim .
BASE = docker.io/library/python:3.11-slim-bookworm

release: $(STAMP) ## Pack what EC2 instances install: wheels, units, installer; WHEELS names those of your tasks
	@rm -rf .cache/release && mkdir -p .cache/release/wheels dist
	@$(BIN)/python -m pip wheel --quiet --no-deps --require-hashes --only-binary :all: -w .cache/release/wheels -r requirements/runtime.txt
	@$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation -w .cache/release/wheels .
	@test -z "$(WHEELS)" || cp $(WHEELS) .cache/release/wheels/
	@cp -r deploy pyproject.toml .cache/release/
	@tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C .cache/release -czf dist/release.tar.gz .
	@sha256sum dist/release.tar.gz

format: $(STAMP) ## Format the code and fix what ruff can fix
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

lint: $(STAMP) ## Check for mistakes and unformatted code
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(STAMP) ## Check the types (mypy, strict)
	@$(BIN)/mypy

imports: $(STAMP) ## Check that imports point down the layers
	@$(BIN)/lint-imports --no-logo

check: lint types imports ## Lint, types and imports

docs: $(TOOLS)/.docs ## Build the documentation, with the API reference, into site/
	@$(TOOLS)/docs/bin/mkdocs build --quiet && echo "Built site/index.html"

lock: $(UV) ## Lock the newest allowed requirements, with hashes
	@echo "Resolving requirements ..."
	@$(UV) $(LOCK_FLAGS) --upgrade --extra dev -o $(LOCK)
	@$(UV) $(LOCK_FLAGS) --extra suite -c $(LOCK) -o requirements/newest.txt
	@$(UV) $(LOCK_FLAGS) --extra dashboard --extra otel -c $(LOCK) -o requirements/runtime.txt
	@printf 'cfn-lint\naws-sam-cli\nhadolint-bin\n' | $(UV) $(TOOL_FLAGS) --upgrade - -o requirements/templates.txt
	@echo 'setuptools>=77' | $(UV) $(TOOL_FLAGS) --upgrade - -o requirements/build.txt
	@echo awslambdaric | $(UV) $(TOOL_FLAGS) --upgrade -c requirements/runtime.txt - -o requirements/image.txt
	@printf 'mkdocs\nmkdocstrings-python\n' | $(UV) $(TOOL_FLAGS) --upgrade - -o requirements/docs.txt
	@echo checkov | $(UV) $(TOOL_FLAGS) --upgrade - -o requirements/checkov.txt
	@$(MAKE) --no-print-directory oldest
TOOL_FLAGS = $(LOCK_FLAGS:pyproject.toml=)
LOCK_FLAGS = pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-emit-index-url --no-annotate pyproject.toml

oldest: $(UV) ## Lock the oldest allowed requirements, with hashes
	@rm -f requirements/oldest.txt
	@$(UV) $(LOCK_FLAGS) --resolution lowest-direct --extra suite -o requirements/oldest.txt

# The lock's own tool, in a venv of its own.
$(UV):
	@$(PYTHON) -m venv .cache/lock && .cache/lock/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

clean: ## Remove .venv, caches and build leftovers
	@rm -rf $(VENV) .cache .aws-sam build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
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

# Each pins its own boto3 and click: two venvs beside ours.
$(TOOLS)/.installed: requirements/templates.txt requirements/checkov.txt
	@echo "Installing cfn-lint, SAM, hadolint and checkov into $(TOOLS) (once, about a minute) ..."
	@$(PYTHON) -m venv --clear $(TOOLS)/sam && $(PYTHON) -m venv --clear $(TOOLS)/checkov
	@$(TOOLS)/sam/bin/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/templates.txt
	@$(TOOLS)/checkov/bin/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/checkov.txt
	@touch $@

$(TOOLS)/.docs: requirements/docs.txt
	@$(PYTHON) -m venv --clear $(TOOLS)/docs
	@$(TOOLS)/docs/bin/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/docs.txt
	@touch $@
