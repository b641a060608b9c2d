# Everything a newcomer needs: `make demo` shows it, `make test` proves it. Both set up what they need.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
KEEP ?=
JOBS ?= 500
SEEDS ?= 4
PROFILES ?=

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

$(VENV)/.ready: pyproject.toml constraints.txt
	@PYTHONPATH=src $(PYTHON) -m passerelle_sandbox.python_environment $(VENV)
	@touch $@

.PHONY: setup
setup: $(VENV)/.ready ## Install what the other targets need, and build the sandbox's parts once
	@$(PY) tests/stages.py setup

.PHONY: demo
demo: $(VENV)/.ready ## Run a real distributed training through the operator, and tell the story (KEEP=1 leaves it up)
	@$(PY) -m passerelle_sandbox demo $(if $(KEEP),--keep)

.PHONY: check
check: $(VENV)/.ready ## Format, lint, types, layers, unit and golden tests
	@$(PY) tests/stages.py check

.PHONY: contract
contract: $(VENV)/.ready ## Run the whole contract suite against every live gateway
	@$(PY) tests/stages.py contract

.PHONY: e2e
e2e: $(VENV)/.ready ## Run every end-to-end test on real parts
	@$(PY) tests/stages.py e2e

.PHONY: test
test: $(VENV)/.ready ## Set everything up and run what must hold for every change
	@$(PY) tests/stages.py test

.PHONY: everything
everything: $(VENV)/.ready ## Run all there is, stage by stage; stages that passed on this tree are not repeated
	@$(PY) tests/stages.py everything

.PHONY: bench
bench: $(VENV)/.ready ## Measure the operator with JOBS TrainingJobs at once (500); its last line is JSON
	@PYTHONPATH=tests $(PY) -m bench $(JOBS)

.PHONY: faults
faults: $(VENV)/.ready ## Lose calls, garble answers and kill operators in SEEDS runs (4); its last line is JSON
	@PYTHONPATH=tests $(PY) -m faults $(SEEDS)

.PHONY: twins
twins: $(VENV)/.ready ## Check the profiles against full-size twins of their schedulers; its last line is JSON
	@PYTHONPATH=tests $(PY) -m twins $(PROFILES)

.PHONY: generate
generate: $(VENV)/.ready ## Write the generated files again: CRDs, the chart's copies of them, and a table of docs/
	@$(PY) -m passerelle.crd crds
	@$(PY) -m passerelle.crd charts/passerelle/files/crds
	@$(PY) -m passerelle.gateways.matrix docs/gateways.md

.PHONY: format
format: $(VENV)/.ready ## Format the code
	@$(VENV)/bin/ruff format
	@$(VENV)/bin/ruff check --fix
