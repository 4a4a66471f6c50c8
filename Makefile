# Everything runs in .venv, which `make setup` builds from constraints.txt. Paths are relative, so
# that the checkout may lie under a folder with spaces in its name.

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow check clean

PYTEST := OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n 2

help:
	@echo 'make demo       fuse tiny models from scratch and show what it brings (no download)'
	@echo 'make test       the tests that take seconds'
	@echo 'make test-slow  the tests that take minutes'
	@echo 'make check      ruff and mypy'
	@echo 'make setup      build .venv with the versions of constraints.txt'
	@echo 'make clean      remove caches and builds'

setup: .venv/.stamp

.venv/.stamp: pyproject.toml constraints.txt
	@test -x .venv/bin/python || { \
	  for python in python3 python3.13 python3.12 python3.11; do \
	    if $$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	    then $$python -m venv .venv; exit; fi; \
	  done; \
	  echo 'inarch needs Python 3.11 or newer with its venv module (Debian: python3-venv);' >&2; \
	  echo 'none of python3, python3.13, python3.12, python3.11 on the PATH is one.' >&2; \
	  exit 1; }
	.venv/bin/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[dev]'
	@touch $@

demo: setup
	.venv/bin/python -m inarch demo

test: setup
	$(PYTEST)

test-slow: setup
	$(PYTEST) -m slow

check: setup
	.venv/bin/python -m ruff check .
	.venv/bin/python -m ruff format --check .
	.venv/bin/python -m mypy

clean:
	rm -rf build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
