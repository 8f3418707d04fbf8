# The commands of a developer's day. `make help` lists them.
#
# Needs Python 3.11 or newer and the package registries. Everything is installed into
# .venv in this folder, once; a changed lock file or pyproject.toml brings it up to date.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo up test test-packages test-pages test-pythons fuzz model simulate mutation long-run power-loss cluster-drill check lint format generate typescript docs man pictures audit sbom release image bench lock clean

BIN := .venv/bin
# Without other programs' packages. What is compiled is kept, for the many processes that load it.
CLEAN := env -u PYTHONPATH -u PYTHONHOME -u PYTHONDONTWRITEBYTECODE
# What is measured: make bench BENCH_ARGS="throughput --rounds 1"
BENCH_ARGS ?=
# What tests are run, and how: make test PYTEST_ARGS="tests/unit -x"
PYTEST_ARGS ?=
# Each has servers of its own. Most tests wait for something most of the time.
TEST_PROCESSES ?= 3

help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

demo: .venv/local ## start everything, send requests, show the responses, leave nothing behind
	@$(CLEAN) $(BIN)/session-worker demo

up: .venv/local ## the local stack and a worker in the foreground, until Ctrl-C
	@$(BIN)/session-worker up

test: .venv/dev ## all tests, on real servers
	@$(CLEAN) $(BIN)/python tests/support/servers.py
	@$(CLEAN) $(BIN)/python tests/support/prometheus.py
	@$(CLEAN) $(BIN)/python tests/support/browser.py
	@$(CLEAN) PYTHONPATH=tests $(BIN)/python -m support.compiler
	@$(CLEAN) $(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist worksteal --durations=10 $(PYTEST_ARGS)

test-packages: .venv/dev ## install the wheel and the sdist, each with one extra, into fresh environments, and use them
	@$(CLEAN) $(BIN)/python -m pytest tests/packages $(PYTEST_ARGS)

test-pages: .venv/dev ## type every command that the pages show into a shell, and compare the answers; takes minutes
	@$(CLEAN) $(BIN)/python -m pytest tests/pages $(PYTEST_ARGS)

test-pythons: ## the unit tests on each Python that is promised and can be had here, without uvloop
	@$(CLEAN) deploy/test_pythons.sh -n $(TEST_PROCESSES) --dist worksteal $(PYTEST_ARGS)

# How many: make fuzz CASES=1000000
CASES ?= 100000

fuzz: .venv/dev ## judge hostile messages, more than the tests do (CASES=1000000)
	@$(CLEAN) PYTHONPATH=tests $(BIN)/python -m fuzz --cases $(CASES)

model: .venv/dev ## visit every order of two workers' steps, more than the tests do; takes minutes
	@$(CLEAN) PYTHONPATH=tests $(BIN)/python -m model
	@$(CLEAN) PYTHONPATH=tests $(BIN)/python -m model --spin

# How many: make simulate SEEDS=100000. One of them: make simulate SIMULATE_ARGS="--seed 67"
SEEDS ?= 10000
SIMULATE_ARGS ?= --processes 2

simulate: .venv/dev ## run workers on a seeded loop with servers that are played, more seeds than the tests do (SEEDS=100000)
	@$(CLEAN) PYTHONPATH=tests $(BIN)/python -m simulation --seeds $(SEEDS) $(SIMULATE_ARGS)

# How many of each file, and of which: make mutation MUTATION_ARGS="--most 6 worker/steps"
MUTATION_ARGS ?=

mutation: .venv/dev ## change one thing in the worker after the other, and see which tests tell; goes on where it stopped
	@$(CLEAN) PYTHONPATH=tests $(BIN)/python -m mutation $(MUTATION_ARGS)

# How often, and with what that loses data: make power-loss CUTS=5 POWER_ARGS="--with fsync=off"
CUTS ?= 20
POWER_ARGS ?=

power-loss: .venv/dev ## cut the power of RabbitMQ, Postgres and workers under load; takes minutes
	@$(CLEAN) PYTHONPATH=tests $(BIN)/python -m support.faults.power_loss --cuts $(CUTS) $(POWER_ARGS)

cluster-drill: .venv/dev ## lose brokers, a worker and the primary of docker-compose.cluster.yml under load; needs Docker
	@$(CLEAN) PYTHONPATH=tests $(BIN)/python tests/support/cluster_drill.py

# How much is sent, and how often something breaks: make long-run REQUESTS=20000 FAULTS=40
# The same seed is the same schedule: make long-run LONG_RUN_ARGS="--seed 7"
REQUESTS ?= 1000000
FAULTS ?= 1000
LONG_RUN_ARGS ?=

long-run: .venv/dev ## a million requests among a thousand faults of every kind, and the verdict; takes an hour
	@$(CLEAN) PYTHONPATH=tests $(BIN)/python -m support.faults.chaos --every-kind --requests $(REQUESTS) \
	  --faults $(FAULTS) $(LONG_RUN_ARGS)

# .pre-commit-config.yaml has the same lines.
check: .venv/dev ## style, strict types, import contracts; changes no file
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

lint: check ## another name of check

format: .venv/dev ## lay the code out, and mend what ruff can mend by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

generate: .venv/dev ## write what is made from the code: JSON Schemas, TypeScript types, rights, and pages of docs/
	@PYTHONPATH=tests $(BIN)/python tests/support/contract/documents.py

typescript: .venv/dev ## build the npm package for clients in TypeScript: build/session-worker-client-VERSION.tgz
	@PYTHONPATH=tests $(BIN)/python tests/support/typescript.py build

docs: .venv/docs ## build the book of docs/, which needs no network to be read: build/docs/index.html
	@$(CLEAN) $(BIN)/python deploy/book.py
	@$(CLEAN) $(BIN)/zensical build --strict

man: .venv/local ## write the man page from the help: build/session-worker.1
	@mkdir -p build
	@$(CLEAN) $(BIN)/python deploy/man_page.py >build/session-worker.1

pictures: .venv/dev ## take the pictures of the console anew, for docs/console.md
	@PYTHONPATH=tests $(BIN)/python tests/support/pictures.py

audit: .venv/audit ## known vulnerabilities, licences, and the rules of Dockerfile and Docker Compose
	$(BIN)/python deploy/licences.py
	$(BIN)/hadolint Dockerfile
	$(BIN)/compose-lint --config deploy/compose-lint.yml --strict-config --fail-on low \
	  docker-compose.yml docker-compose.cluster.yml
	$(BIN)/python deploy/audit.py

# Where it is written: make sbom SBOM=file.json
SBOM ?= build/session-worker.cdx.json

sbom: .venv/audit ## what the image holds, as CycloneDX (SBOM=file.json)
	@mkdir -p $(dir $(SBOM))
	@$(BIN)/cyclonedx-py requirements requirements/worker.lock --pyproject pyproject.toml --mc-type application \
	  --output-reproducible --output-format JSON --output-file $(SBOM)

# make release VERSION=1.2.3, or with DRY_RUN=1 to see what would stop it.
release: .venv/dev ## check, build and tag a version (VERSION=1.2.3, DRY_RUN=1); uploads nothing
	@$(CLEAN) $(BIN)/python deploy/release.py $(if $(DRY_RUN),--dry-run) -- "$(VERSION)"

# Where the repository is, for a label: make image SOURCE=https://…
image: .venv/local ## build the image of this commit, with labels and tags (SOURCE=URL); uploads nothing
	@SOURCE="$(SOURCE)" $(CLEAN) $(BIN)/python deploy/build_image.py

bench: .venv/bench ## measure this worker beside its peers, on this machine
	@$(BIN)/python -m bench $(BENCH_ARGS)

# What a user, or a developer, needs. Asked each time: setup.sh is done at once where it is
# all there, and where another `make` in this folder is at it, it waits.
.PHONY: .venv/local .venv/dev .venv/docs .venv/audit .venv/bench
.venv/local .venv/dev .venv/docs .venv/audit .venv/bench:
	@deploy/setup.sh $(notdir $@)

# No address of a registry, and nothing of this machine, gets into a lock file.
COMPILE := $(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-header \
  --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options \
  --no-annotate $(LOCK_ARGS) pyproject.toml

lock: .venv/dev ## pin every dependency anew: make lock LOCK_ARGS=--upgrade, or LOCK_ARGS=--dry-run
	$(COMPILE) --only-build-deps --build-deps-for wheel --build-deps-for editable \
	  -o requirements/build.lock
	$(COMPILE) --extra worker --extra tracing -o requirements/worker.lock
	$(COMPILE) --extra worker --extra local -c requirements/worker.lock -o requirements/local.lock
	$(COMPILE) --extra worker --extra local --extra dev -c requirements/local.lock \
	  -c requirements/worker.lock -c requirements/build.lock -o requirements/dev.lock
	$(COMPILE) --extra worker --extra tracing --extra local --extra bench -c requirements/dev.lock \
	  -o requirements/bench.lock
	$(COMPILE) --extra docs -c requirements/dev.lock -o requirements/docs.lock
	$(COMPILE) --extra worker --extra local --extra dev --extra audit -c requirements/dev.lock \
	  -c requirements/bench.lock -o requirements/audit.lock

clean: ## remove .venv, caches and what was built
	rm -rf .venv .pythons .cache build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
