# foretaste: `make demo` to see it, `make test` to trust it. Nothing is needed but Python 3.11 or newer and make.

# PYTHON=python3.13 in the environment or on the command line chooses another Python.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up
DOCS_VENV := $(VENV)-docs
COMPOSE ?= docker compose
# Processes that run tests, a file at a time; each starts systems of its own, waits for them often, and wants 2 GB.
TESTERS ?= 3

.PHONY: setup demo test nightly coverage simulate chaos check docs pins wheels peers peers-test compose-env compose-pins compose-test clean

setup: $(STAMP)  ## install everything into .venv

$(STAMP): pyproject.toml constraints.txt
	@if $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then :; else \
		echo 'foretaste needs Python 3.11 or newer: "$(PYTHON)" is missing or older. Run make with PYTHON=/path/to/python3.11' >&2; exit 1; fi
	$(PYTHON) -m venv $(VENV)
	PIP_CONSTRAINT=constraints.txt $(BIN)/pip install --quiet --disable-pip-version-check --editable '.[train,local,test]'
	@touch $@

demo: setup  ## a recommender's whole life; DATA=folder for your own interactions.csv
	@$(BIN)/foretaste demo $(if $(DATA),--data "$(DATA)")

test: setup  ## the suite, against real processes; what takes longer is nightly
	$(BIN)/pytest -m "not compose and not peers and not nightly" --numprocesses $(TESTERS) --dist loadfile --no-loadscope-reorder $(WITH)

nightly: setup  ## the tests that take too long for every change
	$(BIN)/pytest -m nightly --numprocesses $(TESTERS)

coverage: WITH := --cov --cov-report=term:skip-covered
coverage: test  ## the same, which takes longer, and what it has run of each module

# SEEDS=10000, FIRST=0 and KINDS=crash,lost say which; SEED=n lives that one, and prints what happened.
simulate: setup  ## lives of the control plane and its workers, simulated, with faults
	@SEEDS=$(SEEDS) SEED=$(SEED) FIRST=$(FIRST) KINDS=$(KINDS) $(BIN)/python -m tests.simulation

# MINUTES=10, SEED=n and KINDS=kill,full say which; docs/user/reliability.md has the kinds. TABLE=that page has it told there.
chaos: setup  ## a running system, with faults, and what it has lost
	@SEED=$(SEED) MINUTES=$(MINUTES) KINDS=$(KINDS) TABLE=$(TABLE) LOGS=$(LOGS) $(BIN)/python -m tests.chaos

check: setup  ## style, types, layers, docs
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tools.docs.generate --check

docs: $(DOCS_VENV)/.set-up  ## the documentation as a site with search, in site; a warning is an error
	$(DOCS_VENV)/bin/sphinx-build -W --keep-going -n -q docs site

# Apart: Sphinx wants another docutils than the AWS CLI of the tests.
$(DOCS_VENV)/.set-up: docs/requirements.txt
	$(PYTHON) -m venv $(DOCS_VENV)
	$(DOCS_VENV)/bin/pip install --quiet --disable-pip-version-check --requirement docs/requirements.txt
	@touch $@

pins: setup  ## write the installed versions into constraints.txt
	@{ head -2 constraints.txt; $(BIN)/pip freeze --all --exclude-editable | grep -v '^pip==' | sed 's/+cpu$$//'; } > .pins
	@mv .pins constraints.txt

wheels: setup  ## torch for the image, as pip finds it for this machine
	$(BIN)/pip download --quiet --no-deps --dest wheels "$$(grep '^torch==' constraints.txt)"

peers: setup  ## what the benchmarks compare with, into .venv-peers
	@$(BIN)/python -m benchmarks.quality.environment

peers-test: peers  ## the networks that the benchmarks compare with, each on a small task
	$(BIN)/pytest -m peers tests/unit/benchmarks

compose-env:  ## keys and passwords for compose.yaml, and .env; what is there already stays
	@sh deploy/compose-env.sh

compose-pins:  ## write into .env which images of others compose.yaml uses, by digest, as their registry has them now
	@sh deploy/compose-pins.sh

compose-test: setup wheels  ## the same life against containers; needs a Docker engine
	$(BIN)/pytest -m compose tests/compose

clean:  ## remove what make has made
	rm -rf $(VENV) $(VENV)-peers $(DOCS_VENV) wheels site .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage
	find services workers shared tests -name __pycache__ -type d -prune -exec rm -rf {} +
