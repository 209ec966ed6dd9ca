# foretaste: `make demo` to see it, `make test` to trust it. Nothing is needed but Python 3.11 or newer and make.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up
COMPOSE ?= docker compose
# Processes that run tests, a file at a time; each starts systems of its own and wants a core and 2 GB.
TESTERS ?= 2

.PHONY: setup demo test coverage simulate chaos check pins wheels peers peers-test compose-env compose-test clean

setup: $(STAMP)  ## install everything into .venv

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	PIP_CONSTRAINT=constraints.txt $(BIN)/pip install --quiet --disable-pip-version-check --editable '.[train,local,test]'
	@touch $@

demo: setup  ## a recommender's whole life; DATA=folder for your own interactions.csv
	@$(BIN)/foretaste demo $(if $(DATA),--data "$(DATA)")

test: setup  ## the whole suite, against real processes
	$(BIN)/pytest -m "not compose and not peers" --numprocesses $(TESTERS) --dist loadfile $(WITH)

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
	$(BIN)/python -m docs.generate --check

pins: setup  ## write the installed versions into constraints.txt
	@{ head -2 constraints.txt; $(BIN)/pip freeze --all --exclude-editable | grep -v '^pip==' | sed 's/+cpu$$//'; } > .pins
	@mv .pins constraints.txt

wheels: setup  ## torch for the image, as pip finds it for this machine
	$(BIN)/pip download --quiet --no-deps --dest wheels "$$(grep '^torch==' constraints.txt)"

peers: setup  ## what the benchmarks compare with, into .venv-peers
	@$(BIN)/python -m benchmarks.quality.environment

peers-test: peers  ## the networks that the benchmarks compare with, each on a small task
	$(BIN)/pytest -m peers tests/unit/benchmarks

compose-env: .env  ## keys and passwords for compose.yaml

# Written once. A root user gets the containers' own user: they must not run as root.
.env:
	@umask 077 && \
	random() { head -c $$1 /dev/urandom | od -An -tx1 | tr -d ' \n'; } && \
	uid=$$(id -u) && gid=$$(id -g) && \
	if [ $$uid = 0 ]; then uid=10001 gid=10001; fi && \
	key=FT$$(random 9 | tr a-f A-F) && secret=$$(random 20) && \
	{ echo FORETASTE_ACCESS_KEY_ID=$$key; echo FORETASTE_SECRET_ACCESS_KEY=$$secret; \
	  echo FORETASTE_REDIS_PASSWORD=$$(random 32); echo FORETASTE_UID=$$uid; echo FORETASTE_GID=$$gid; } > .env.new && \
	(umask 022 && mkdir -p foretaste-data/s3) && \
	if [ $$(id -u) = 0 ]; then chown $$uid:$$gid foretaste-data/s3; fi && \
	{ echo export AWS_ACCESS_KEY_ID=$$key; echo export AWS_SECRET_ACCESS_KEY=$$secret; \
	  echo export AWS_REGION=us-east-1; echo export AWS_DEFAULT_REGION=us-east-1; \
	  for service in PERSONALIZE PERSONALIZE_RUNTIME PERSONALIZE_EVENTS; do \
	    echo export AWS_ENDPOINT_URL_$$service=http://127.0.0.1:8080; done; } > foretaste-data/compose.env && \
	mv .env.new .env && \
	echo "wrote .env, and foretaste-data/compose.env for clients"

compose-test: setup wheels  ## the same life against containers; needs a Docker engine
	$(BIN)/pytest -m compose tests/compose

clean:  ## remove what make has made
	rm -rf $(VENV) $(VENV)-peers wheels .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage
	find services workers shared tests -name __pycache__ -type d -prune -exec rm -rf {} +
