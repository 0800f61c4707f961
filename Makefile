# make demo   the main job on real data, in an environment of its own without torch
# make test   style, types, tests; everything CI runs
# `make -B .venv/ready` builds the environment anew.
PYTHON ?= python3
.DEFAULT_GOAL := help

help:
	@echo "make demo       install into .venv-demo (no torch) and run the main job on real data"
	@echo "make test       install into .venv and run style, types and tests"
	@echo "make test-slow  the tests that take minutes"
	@echo "make docs       build docs/_build/html and run every example in docs"
	@echo "make clean      remove the environments and what was built"

.venv-demo/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-demo
	.venv-demo/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	touch $@

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: .venv-demo/ready
	.venv-demo/bin/datassay demo

test: .venv/ready
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/python -m pytest

test-slow: .venv/ready
	.venv/bin/python -m pytest -m slow

docs: .venv/ready
	.venv/bin/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	.venv/bin/python -m pytest -q docs

clean:
	rm -rf .venv .venv-demo .pytest_cache .mypy_cache .ruff_cache docs/_build docs/generated datassay-demo

.PHONY: help demo test test-slow docs clean
