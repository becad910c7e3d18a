# SPDX-License-Identifier: Apache-2.0
# `make demo` shows it, `make test` proves it; both install what they need (Debian, root or sudo).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SHELL := /bin/bash
INSTALL := PYTHON=$(PYTHON) .ci/install-debian
# Three at a time on two cores: the tests mostly wait for Slurm. One file's tests share a cluster;
# files come in the order of tests/slurm/conftest.py.
SLURM_PYTEST := SLURM_GREEN_REQUIRE_SLURM=1 $(BIN)/python -m pytest -q -n 3 --dist loadfile \
    --no-loadscope-reorder
# Hundreds of processes of ours are started: to compile them each time takes most of their time.
unexport PYTHONDONTWRITEBYTECODE

.NOTPARALLEL:
.PHONY: setup slurm slurm-tests vllm demo test test-fast test-slow test-slurm test-vllm test-matrix check bench clean help

help:            ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t18

setup: $(VENV)/.done   ## the virtual environment with everything Python needs

KERNELS = slurm_green/plan/kernel/c slurm_green/plan/policy/kernel/c \
    serving/replay/route/kernel/c
$(VENV)/.done: pyproject.toml $(wildcard $(addsuffix /*.[ch],$(KERNELS)))
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "error: slurm-green needs Python 3.11 or newer, $(PYTHON) is $$($(PYTHON) -V 2>&1);" \
	        "try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(INSTALL) --venv
	-@$(INSTALL) --compiler   # for speed: without one everything runs too
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

slurm:           ## Debian's Slurm, munge, MariaDB and Lua, where they are missing
	$(INSTALL) --accounting

slurm-tests:
	$(INSTALL) --accounting --tests

vllm:            ## a CPU build of vLLM in the user's cache, 2.4 GB
	PYTHON=$(PYTHON) .ci/vllm

demo: setup slurm      ## a real Slurm, real jobs, deferred by a carbon day; receipts and a picture
	$(BIN)/python examples/demo/demo.py

# vLLM before Slurm's tests, two of which train with its torch.
test: setup slurm-tests check test-fast test-slow vllm test-slurm test-vllm   ## everything on this machine's Slurm

test-fast: setup       ## tests without Slurm, under two minutes
	$(BIN)/python -m pytest -q -n auto -m "not slurm and not vllm and not slow" tests

test-slow: setup       ## the slow ones without Slurm
	$(BIN)/python -m pytest -q -n auto -m "slow and not slurm and not vllm" tests

test-slurm: setup slurm-tests   ## tests on a real slurmctld
	$(SLURM_PYTEST) -m "slurm and not matrix" tests/slurm

# One engine at a time, on one core each: they are timed.
test-vllm: setup       ## tests with the real vLLM and torch, on the CPU
	vllm=$$(PYTHON=$(PYTHON) .ci/vllm) && \
	    SLURM_GREEN_REQUIRE_VLLM=1 OMP_NUM_THREADS=1 "$$vllm/bin/python" -m pytest -q tests/vllm

test-matrix: setup     ## tests on Debian's other Slurm versions, in chroots built once (root)
	.ci/matrix

check: setup     ## format, lint, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup slurm     ## timings as ratios in one run; minutes
	$(BIN)/python benchmarks/submit_latency.py
	$(BIN)/python benchmarks/prolog_cost.py
	$(BIN)/python benchmarks/cycle_cost.py
	$(BIN)/python benchmarks/cycle_live.py
	$(BIN)/python benchmarks/best_response.py
	$(BIN)/python benchmarks/plan.py --quick
	$(BIN)/python benchmarks/profile_fit.py
	$(BIN)/python benchmarks/emulated_nvml.py

clean:           ## stop clusters that tests left, drop caches and the environment
	-[ ! -x $(BIN)/sgreen ] || $(BIN)/sgreen cluster down --all
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -rf .benchmarks .import_linter_cache
