# Two commands on a fresh Debian machine, as root:  make demo,  make test.   `make help` lists the others.
#
# Variables:
#   TF=2.21.0        TensorFlow to build against; another one than the default has an environment of its own, .venv-$(TF)
#   PYTHON=python3   the Python that environments are made from
#   QUICK=1          a short `make demo`
#   DEMO_ARGS, PYTEST_ARGS, BENCH_ARGS   handed on

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

DEFAULT_TF := 2.21.0
OLDEST_TF := 2.15.1
TF ?= $(DEFAULT_TF)
PYTHON ?= python3
export PYTHON

# The C++ builds need no TensorFlow; their tools come from the default environment whatever TF is.
TOOLS := .venv
VENV := $(if $(filter $(DEFAULT_TF),$(TF)),.venv,.venv-$(TF))
MODE := $(if $(filter $(DEFAULT_TF),$(TF)),editable,copy)
PY := $(VENV)/bin/python
FAST := not slow and not gpu
# A test has a core or so; a process of TensorFlow has a gigabyte.
PYTEST := $(PY) -m pytest -n auto --maxprocesses=4 --dist=worksteal

WITH_TOOLS := PATH="$(CURDIR)/$(TOOLS)/bin:$$PATH"
# The thread sanitizer of older compilers cannot map its shadow where addresses are much randomised.
NO_ASLR := $(shell setarch -R true 2>/dev/null && echo setarch -R)

.PHONY: help build demo test test-fast test-all test-other test-matrix test-python native asan ubsan tsan bench lint format clean distclean \
  system-build system-test system-lint system-bench

help:
	@echo "make demo       build, then train the DeepFM example and print its table   (QUICK=1: half a minute)"
	@echo "make test       build, then every test                                    (TF=2.15.1: fast tests on that version)"
	@echo "make bench      build, then the benchmarks"
	@echo "make build      set up the environment and build the package into it"
	@echo "make test-fast  the tests of everyday work: C++ and Python, no sanitizers"
	@echo "make test-matrix  every Python test, on $(DEFAULT_TF) and on $(OLDEST_TF), the last TensorFlow with Estimators"
	@echo "make asan | ubsan | tsan   the engine's tests under a sanitizer, without TensorFlow"
	@echo "make lint | format         check or format the sources"
	@echo "make clean      delete build/;  make distclean: the environments too"

system-build system-test system-lint system-bench: system-%:
	@scripts/system_packages.sh $*

# --- environment and package ----------------------------------------------------------------------------------------

$(TOOLS)/.tools: scripts/environment.sh | system-build
	scripts/environment.sh $(TOOLS)
	touch $@

$(VENV)/.tensorflow-$(TF): scripts/environment.sh | system-build
	scripts/environment.sh $(VENV) $(TF)
	touch $@

build: $(VENV)/.tensorflow-$(TF)
	scripts/install.sh $(VENV) $(MODE)

demo: build
	$(PY) examples/deepfm/train.py $(if $(QUICK),--quick) $(DEMO_ARGS)

# --- tests ----------------------------------------------------------------------------------------------------------

test: $(if $(filter $(DEFAULT_TF),$(TF)),test-all,test-other)

test-all: native asan tsan build
	$(PYTEST) $(PYTEST_ARGS)

test-other: build
	$(PYTEST) -m "$(FAST)" $(PYTEST_ARGS)

test-fast: build native
	$(PYTEST) -m "$(FAST)" $(PYTEST_ARGS)

test-matrix:
	$(MAKE) test-python TF=$(DEFAULT_TF)
	$(MAKE) test-python TF=$(OLDEST_TF)

test-python: build
	$(PYTEST) $(PYTEST_ARGS)

native: $(TOOLS)/.tools system-test
	$(WITH_TOOLS) cmake --preset dev --log-level=WARNING
	$(WITH_TOOLS) cmake --build --preset dev
	$(WITH_TOOLS) ctest --preset all

asan ubsan: $(TOOLS)/.tools system-test
	$(WITH_TOOLS) cmake --preset $@ --log-level=WARNING
	$(WITH_TOOLS) cmake --build --preset $@
	$(WITH_TOOLS) ctest --preset $@

tsan: $(TOOLS)/.tools system-test
	$(WITH_TOOLS) cmake --preset tsan --log-level=WARNING
	$(WITH_TOOLS) cmake --build --preset tsan
	$(WITH_TOOLS) $(NO_ASLR) ctest --preset tsan

# --- benchmarks -----------------------------------------------------------------------------------------------------

# The programs are build/bench/benchmarks/*_bench.
bench: build $(TOOLS)/.tools system-bench
	$(WITH_TOOLS) cmake --preset bench --log-level=WARNING
	$(WITH_TOOLS) cmake --build --preset bench
	$(PY) benchmarks/run.py $(BENCH_ARGS)

# --- sources --------------------------------------------------------------------------------------------------------

$(TOOLS)/.lint: $(TOOLS)/.tools .pre-commit-config.yaml
	$(TOOLS)/bin/pip install -q clang-format==14.0.6 ruff==0.8.6
	touch $@

lint: $(TOOLS)/.lint system-test system-lint
	$(WITH_TOOLS) cmake --preset dev --log-level=WARNING
	scripts/lint.sh check $(TOOLS)

format: $(TOOLS)/.lint
	scripts/lint.sh format $(TOOLS)

clean:
	rm -rf build python/ev_tf.egg-info python/ev_tf/*.so python/ev_tf/_build_info.py
	rm -f .venv*/.ev_tf-*

distclean: clean
	rm -rf .venv .venv-*
