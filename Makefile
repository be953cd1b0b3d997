# Everything a person types. Each target does the set-up it needs first; what is done is not redone.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help setup demo serve hadoop hadoop-up hadoop-down hadoop-status test test-stages test-products fmt lint types imports bench \
	bench-serve bench-tools clients chaos chaos-serve soak dist zip clean \
	prereqs

PRODUCT ?= conf/pipelines/flights.yaml
PACKAGES := millrace pipelines ingest train serve
BIN := .venv/bin
DONE := .venv/.done
PIP := $(BIN)/python -m pip --quiet --log .venv/setup.log
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Another Spark or Python on this machine must not be mixed with the pinned ones.
unexport PYTHONHOME PYTHONPATH SPARK_CONF_DIR SPARK_HOME PYSPARK_PYTHON PYSPARK_DRIVER_PYTHON

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

setup: prereqs $(DONE)/spark ## Make .venv with pinned packages, Horovod and Spark's jars

demo: setup ## Run the main job: real flights in, a served prediction out
	@$(BIN)/millrace demo $(PRODUCT)

serve: setup ## Serve the model that the demo published
	@$(BIN)/millrace serve $(PRODUCT)

hadoop: setup $(DONE)/hadoop ## Add the daemons of Hadoop, for development and the tests

hadoop-up: hadoop ## Start HDFS, YARN and a Spark cluster on this machine
	@$(BIN)/millrace hadoop up

hadoop-down: hadoop ## End them; data stay
	@$(BIN)/millrace hadoop down

hadoop-status: hadoop ## Tell which of them work, and where
	@$(BIN)/millrace hadoop status

test: setup hadoop clients zip ## Check style, types and import contracts, then run the tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict $(PACKAGES)
	$(BIN)/lint-imports
	@$(BIN)/python scripts/tests.py

fmt: setup ## Format the code and fix what ruff can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: setup ## Check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup ## Check the types
	$(BIN)/mypy --strict $(PACKAGES)

imports: setup ## Check the import contracts
	$(BIN)/lint-imports

bench: setup zip ## Measure quality and speed beside their references
	$(BIN)/python -m benchmarks

chaos: setup hadoop zip ## Run the long fault tests; CHAOS=long runs the longest
	@$(BIN)/python -m tests.chaos

# Clients that the service is tested with, in environments of their own: their pins clash with ours.
clients: $(DONE)/kserve
$(DONE)/kserve: tests/e2e/clients/kserve.txt | $(DONE)/packages
	@echo "millrace: installing KServe's client for the tests (once)"
	@$(BIN)/python -m venv .venv/clients/kserve
	@.venv/clients/kserve/bin/pip install --quiet --no-deps --requirement tests/e2e/clients/kserve.txt
	@touch $@

chaos-serve: setup bench-tools ## What clients and the machine do to the service; ends in a table of got / goal
	@$(BIN)/python -m tests.hostile

soak: setup ## Half an hour of mixed load with a new model version every 30 s; SOAK_MINUTES changes it
	@$(BIN)/python -m tests.hostile.soak

bench-serve: setup bench-tools ## The service beside other servers; writes docs/benchmarks.md
	@$(BIN)/python -m benchmarks serving

OHA_VERSION := 1.16.0
MLSERVER_VERSION := 1.7.1
BENTOML_VERSION := 1.4.39
TENSORFLOW := $(shell grep --only-matching '^tensorflow-cpu==.*' constraints.txt)

bench-tools: .venv/oha/bin/oha
bench-serve: .venv/rivals/mlserver/bin/mlserver .venv/rivals/bentoml/bin/bentoml

.venv/oha/bin/oha: | $(DONE)/packages
	@command -v cargo >/dev/null || { echo "millrace: the load generator oha is built by cargo: install Rust, or oha itself as $@" >&2; exit 1; }
	@echo "millrace: building oha $(OHA_VERSION), a load generator (once, about 4 minutes)"
	@cargo install --quiet --locked --no-default-features --features rustls --root .venv/oha oha@$(OHA_VERSION)

# Newer uvloops refuse what its workers do.
.venv/rivals/mlserver/bin/mlserver: RIVAL := mlserver==$(MLSERVER_VERSION) 'uvloop<0.22'
.venv/rivals/bentoml/bin/bentoml: RIVAL := bentoml==$(BENTOML_VERSION)
.venv/rivals/%: | $(DONE)/packages
	@echo "millrace: installing $(RIVAL) in an environment of its own (once)"
	@$(BIN)/python -m venv $(dir $(patsubst %/,%,$(dir $@)))
	@$(dir $@)pip install --quiet $(RIVAL) $(TENSORFLOW)
	@touch $@

dist: zip dist/environment.tar.gz ## Build dist/: millrace.zip for --py-files, environment.tar.gz for --archives

zip: setup ## Build dist/millrace.zip alone
	@$(BIN)/python scripts/dist.py

# Packages of one's own that functions in a product file import.
ENVIRONMENT_PACKAGES ?=
dist/environment.tar.gz: $(DONE)/packages scripts/environment.py
	@echo "millrace: packing what executors import (2 GB, about 3 minutes)"
	@$(BIN)/python scripts/environment.py $(ENVIRONMENT_PACKAGES)

clean: ## Remove all that make built; downloads in the cache and data in stores stay
	rm -rf .venv dist build ./*.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find $(PACKAGES) tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +

# The set-up, one stamp a step. A virtual environment knows its own path: a moved one is made anew.
ifneq ($(shell cat $(DONE)/venv 2>/dev/null),$(CURDIR))
.PHONY: $(DONE)/venv
endif

prereqs:
	@sh scripts/prereqs >/dev/null

$(DONE)/venv: | prereqs
	@echo "millrace: making .venv"
	@python=$$(sh scripts/prereqs) && "$$python" -m venv --clear .venv
	@mkdir -p $(DONE)
	@$(PIP) install -c constraints.txt pip setuptools wheel
	@echo "$(CURDIR)" >$@

$(DONE)/horovod: $(DONE)/venv constraints.txt scripts/horovod_wheel.py scripts/pins.py
	@$(BIN)/python scripts/horovod_wheel.py
	@touch $@

$(DONE)/packages: $(DONE)/horovod constraints.txt setup.cfg pyproject.toml
	@echo "millrace: installing the pinned packages (details in .venv/setup.log)"
	@$(PIP) install --no-build-isolation -c constraints.txt pip setuptools wheel \
		-e '.[spark,train,serve,otel,transfer,dev]'
	@touch $@

$(DONE)/spark: $(DONE)/packages scripts/spark-jars.txt scripts/jars.py scripts/spark_home.py \
		$(wildcard conf/spark conf/spark/*)
	@$(BIN)/python scripts/spark_home.py
	@touch $@
	@echo "millrace: set up"

$(DONE)/hadoop: $(DONE)/spark scripts/hadoop-jars.txt scripts/jars.py scripts/hadoop_home.py
	@$(BIN)/python scripts/hadoop_home.py
	@touch $@
