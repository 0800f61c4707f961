# make demo   the main job on real data, in an environment of its own without torch
# make test   style, types, tests; everything CI runs
# make test WORKERS=0   in one process, in order; the default is a worker a core, each with one thread
# `make -B .venv/ready` builds the environment anew.
PYTHON ?= python3
WORKERS ?= logical
# a worker's arrays on its own core: more threads than cores take turns. A file's tests stay in one worker, which shares their fixtures.
ONE_THREAD = OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1
.DEFAULT_GOAL := help

help:
	@echo "make demo       install into .venv-demo (no torch) and run the main job on real data"
	@echo "make test       install into .venv and run style, types and tests"
	@echo "make test-slow  the tests that take minutes"
	@echo "make test-oldest  the tests with the oldest promised version of each dependency, in .venv-oldest (no torch)"
	@echo "make test-3.13  the tests on python3.13, in .venv-3.13; likewise test-3.12; TESTS=tests/test_values.py: some of them"
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
	$(ONE_THREAD) .venv/bin/python -m pytest -n $(WORKERS) --dist loadfile

test-slow: .venv/ready
	.venv/bin/python -m pytest -m slow

# of those that need no torch: its oldest version comes with gigabytes of CUDA
OLDEST = values semivalues bench_statistics engines knn_shapley progress cg_score readers report

.venv-oldest/ready: pyproject.toml benchmarks/oldest.py
	$(PYTHON) -m venv .venv-oldest
	$(PYTHON) benchmarks/oldest.py images ot > .venv-oldest/constraints.txt
	.venv-oldest/bin/pip install --quiet --disable-pip-version-check --constraint .venv-oldest/constraints.txt --editable '.[images,ot]' \
		'pytest>=8' 'pytest-xdist>=3.6' 'hypothesis>=6.100' 'beartype>=0.19'
	touch $@

test-oldest: .venv-oldest/ready
	$(ONE_THREAD) .venv-oldest/bin/python -m pytest -n $(WORKERS) --dist loadfile $(OLDEST:%=tests/test_%.py)

# another interpreter, python3.12 or python3.13 of the PATH, in an environment of its own: the pattern stands for the last number
.venv-3.%/ready: pyproject.toml constraints.txt
	$(or $(INTERPRETER),python3.$*) -m venv .venv-3.$*
	.venv-3.$*/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

.PRECIOUS: .venv-3.%/ready

test-3.%: .venv-3.%/ready
	$(ONE_THREAD) .venv-3.$*/bin/python -m pytest -n $(WORKERS) --dist loadfile $(TESTS)

docs: .venv/ready
	.venv/bin/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	.venv/bin/python -m pytest -q docs

clean:
	rm -rf .venv .venv-demo .venv-oldest .venv-3.* .pytest_cache .mypy_cache .ruff_cache docs/_build docs/generated datassay-demo

.PHONY: help demo test test-slow test-oldest docs clean
