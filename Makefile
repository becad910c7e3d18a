# SPDX-License-Identifier: Apache-2.0
# `make demo` shows it, `make test` proves it; both install what they need (Debian, root or sudo).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SHELL := /bin/bash

.PHONY: setup slurm demo test test-fast test-slurm test-matrix check docs bench clean help

help:            ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t18

setup: $(VENV)/.done   ## the virtual environment with everything Python needs

$(VENV)/.done: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

slurm:           ## Debian's Slurm, munge, MariaDB and Lua, where they are missing
	.ci/install-debian

demo: setup slurm      ## a real Slurm, real jobs, deferred by a carbon day; receipts and a picture
	$(BIN)/python examples/demo/demo.py

test: setup slurm check test-fast test-slurm   ## everything

test-fast: setup       ## tests without Slurm, under two minutes
	$(BIN)/python -m pytest -q -n auto -m "not slurm" tests

test-slurm: setup slurm   ## tests on a real slurmctld
	SLURM_GREEN_REQUIRE_SLURM=1 $(BIN)/python -m pytest -q -m "slurm and not matrix" tests/slurm

test-matrix: setup slurm  ## tests/slurm on Debian's other Slurm versions, in chroots built once
	SLURM_GREEN_REQUIRE_SLURM=1 $(BIN)/python -m pytest -q -m matrix tests/slurm

check: setup     ## format, lint, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup slurm     ## timings as ratios in one run; minutes
	$(BIN)/python benchmarks/submit_latency.py
	$(BIN)/python benchmarks/cycle_cost.py

clean:           ## stop clusters that tests left, drop caches and the environment
	-$(BIN)/sgreen cluster down --all
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
