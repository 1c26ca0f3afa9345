# Every target sets itself up in .venv on first use, and again when pyproject.toml changes.
.DEFAULT_GOAL := help
.PHONY: help demo test check docs reliability clients peers

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# TORCH is a pip requirement that replaces the pin of constraints-cpu.txt, e.g. on a GPU machine:
#   make demo TORCH=torch        (the newest build for this machine)
TORCH ?=
CONSTRAINT := $(if $(TORCH),,--constraint constraints-cpu.txt)

# The first Python that suits; PYTHON=/path/to/python names another one.
SUITABLE := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	"$$python" -c '$(SUITABLE)' 2>/dev/null && echo "$$python" && break; done)

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' Makefile

demo: $(READY) ## Compare pruning policies on the bundled model and write the report (resumes)
	@$(BIN)/ivcprune --multirun experiment=demo
	@$(BIN)/ivcprune job=report experiment=demo

test: $(READY) ## Run all tests
	@$(BIN)/pytest --numprocesses auto --maxprocesses 8 --dist loadfile

check: $(READY) ## Check style, formatting and types
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache >/dev/null || $(BIN)/lint-imports

reliability: $(READY) ## Kill and disturb runs: 20 kills, 200 faults, about 15 minutes on 2 cores
	@$(BIN)/python -m tools.reliability --kills 20 --faults 200 --output results/reliability

clients: $(READY) ## Compare vLLM, lmms-eval and VLMEvalKit with prune, in their own environments under .venvs
	@$(BIN)/python -m tools.clients --output results/clients

# PUBLISHED is a checkout of the published IVC-Prune code; without one its side is left out.
peers: $(READY) ## Compare speed and memory with other people's pruning, on the same weights
	@$(BIN)/python -m tools.peers --output results/peers $(if $(PUBLISHED),--published $(PUBLISHED))

docs: $(READY) ## Check the documentation; build it in site/ where its extra [docs] is installed
	@$(BIN)/pytest --quiet tests/integration/test_docs.py
	@if [ -x $(BIN)/mkdocs ]; then \
	  NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict && echo 'built: site/index.html'; \
	else echo "no site was built: $(BIN)/pip install -e '.[docs]' brings what it needs"; fi

$(READY): pyproject.toml constraints-cpu.txt
	@"$(PYTHON)" -c '$(SUITABLE)' 2>/dev/null || { \
	  echo 'ivcprune needs Python 3.11, 3.12 or 3.13: install one, or name it with' >&2; \
	  echo '  make PYTHON=/path/to/python3.12 <target>' >&2; exit 1; }
	@[ -x $(BIN)/pip ] || "$(PYTHON)" -m venv $(VENV) || { \
	  echo '$(PYTHON) cannot make virtual environments: install its venv module' >&2; \
	  echo '(Debian and Ubuntu: the package python3-venv).' >&2; exit 1; }
	@echo 'Installing into $(VENV) (some minutes the first time) ...'
	@$(BIN)/pip install -qq --disable-pip-version-check \
	  $(CONSTRAINT) $(TORCH) --editable '.[dev]'
	@touch $@
