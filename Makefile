# Every command a newcomer needs; `make` alone lists them.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
# Called through its interpreter: scripts in a folder whose path holds a space are not found by every shell.
PY := $(VENV)/bin/python
BRIDGE := $(PY) -m bridge
export HF_HUB_DISABLE_TELEMETRY := 1
# Tests start many processes, and every one would compile bridge anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help run report test test-quick test-slurm test-saelens chaos mutants lint bench clean

help:  ## show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

run: $(VENV)/.installed  ## train the two small models once, run the first grid, print its table, write the report
	@$(BRIDGE) experiment=first_look

report: $(VENV)/.installed  ## write the report again from the records
	@$(BRIDGE) report

test: $(VENV)/.installed-dev  ## check style and types, then run every test but make chaos
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy
	@$(PY) -m pytest -n 3 --dist worksteal -rs -m "not slow"

test-quick: $(VENV)/.installed-dev  ## the tests that train nothing, compute no cell and start no process of bridge's
	@$(PY) -m pytest -n 2 --dist worksteal -m "not long and not slurm and not slow"

test-slurm: $(VENV)/.installed-dev  ## the tests on a real SLURM, started on this machine (apt-get install slurm-wlm)
	@BRIDGE_REQUIRE_SLURM=1 $(PY) -m pytest -n 2 --dist worksteal -m slurm tests/slurm

test-saelens: $(VENV)/.installed-dev  ## install SAELens, and see that its SAEs encode alike here and ours there
	@$(PY) -m pip install --quiet --disable-pip-version-check -e '.[saelens]'
	@$(PY) -m pytest -n 0 -W ignore::DeprecationWarning tests/sae/test_saelens_agreement.py

chaos: $(VENV)/.installed-dev  ## kill a random worker every few seconds until a sweep of 200 cells is done
	@$(PY) -m pytest -n 0 -s -m slow tests/test_chaos.py

mutants: $(VENV)/.installed-dev  ## break the code on purpose, one fault at a time, and see that the tests notice
	@$(PY) tests/mutants/run_mutants.py

lint: $(VENV)/.installed-dev  ## put style right where that can be done by machine
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

bench: $(VENV)/.installed-dev  ## measure speed and memory against named alternatives, write outputs/bench.json
	@$(PY) -m benchmarks

clean:  ## delete the environment and everything that was computed
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache
	find outputs -mindepth 1 -not -name .gitkeep -delete

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "bridge needs Python 3.11 or newer, got $$($(PYTHON) --version 2>&1); run: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml
	$(PY) -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/bin/python pyproject.toml
	$(PY) -m pip install --quiet --disable-pip-version-check -e '.[dev,wandb]'
	@touch $@ $(VENV)/.installed
