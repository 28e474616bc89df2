# Every command of the project. Each makes what it needs in .venv first, and only once: the stamps in .venv are
# redone when pyproject.toml or this file changes.
#
#   make demo     fine-tune the embedded sample on JAX and write demo-output/
#   make test     the suite on JAX, PyTorch and TensorFlow (BACKEND=jax: on that one alone), live flags on the oldest Keras
#                 supported, and a minute of fuzzing, two of these at a time
#   make check    ruff format --check, ruff, mypy --strict
#   make all      check, then test
#   make setup    .venv with the development tools and the pre-commit hook
#   make docs     the generated pages of docs/, the traps of plain Keras measured (minutes), the tree in ARCHITECTURE.md
#   make golden   record TensorFlow's answers anew in tests/golden (needs TensorFlow)
#   make bench    the side-by-side measurements of benchmarks/ (needs TensorFlow; BENCH=name for one artifact)
#   make corpus   every model of a folder, on every backend, against what TensorFlow recorded for it (MODELS=folder); the
#                 table goes to corpus-output/ as it grows; SCORE=--resume goes on after an interrupt
#   make fuzz     damaged files of every format (SECONDS=600, or EXECUTIONS=1000000; FORMAT='h5 keras' for some of them;
#                 ENGINE=atheris FORMAT=frozen: led by coverage, where that library installs); findings in build/fuzz
#   make size     lines per file

PYTHON   ?= python3
BACKENDS := jax torch tensorflow
BACKEND  ?= $(BACKENDS)
# More arguments: PYTEST='-k Conv2D', SECTION='lowering math', SCORE='--jobs 4'
PYTEST   ?=
export PYTEST
SECTION  ?=
MODELS   ?= ../shared/models
OUTPUT   ?= corpus-output
SCORE    ?=
# Of make fuzz; what make test runs of it is always the same.
SECONDS  ?= 600
ENGINE   ?= own
FUZZ     := tests/fuzz/run.py --out build/fuzz

VENV := .venv
BIN  := $(VENV)/bin
PIP  := $(BIN)/python -m pip --disable-pip-version-check --quiet

# An unpinned torch would pull several GB of CUDA packages on Linux, which nothing here needs; a build for the CPU
# (2.13.0+cpu) satisfies this pin, where pip is configured to find one. tensorflow-cpu likewise.
TORCH      := torch==2.13.0
TENSORFLOW := tensorflow-cpu>=2.18
OLDEST_KERAS := 3.15.0

# Two threads of a library would only wait for each other in tests of this size; TensorFlow's banner hides real output.
export OMP_NUM_THREADS      ?= 1
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: all demo test $(BACKENDS:%=test-%) test-oldest-keras test-fuzz check setup docs golden bench corpus fuzz size clean
.DEFAULT_GOAL := all

all: check test

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "thaw needs Python 3.11 or newer, but '$(PYTHON)' is $$($(PYTHON) -V 2>&1). Name another: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# What a user installs, with JAX: enough for the demo.
$(VENV)/.user: pyproject.toml Makefile | $(BIN)/python
	$(PIP) install -e '.[jax,finetune]' 'scikit-learn>=1.4'
	@touch $@

# The development tools of pyproject.toml's dependency group, for which older pips need an upgrade.
$(VENV)/.dev: $(VENV)/.user
	$(PIP) install --upgrade 'pip>=25.1'
	$(PIP) install --group dev
	@touch $@

$(VENV)/.torch: $(VENV)/.dev
	$(PIP) install '$(TORCH)'
	@touch $@

$(VENV)/.tensorflow: $(VENV)/.dev
	$(PIP) install '$(TENSORFLOW)'
	@touch $@

$(VENV)/.jax: $(VENV)/.dev
	@touch $@

# TensorFlow's side of comparisons: the peers that recorded the goldens and that the benchmarks run against.
# tensorflow_hub imports pkg_resources, which newer setuptools lack; tf2jax would bring a second TensorFlow.
$(VENV)/.peers: $(VENV)/.tensorflow $(VENV)/.torch
	$(PIP) install tf_keras tensorflow_hub 'setuptools<81' dm-tree
	$(PIP) install --no-deps tf2jax
	@touch $@

setup: $(VENV)/.dev
	@if git rev-parse --git-dir >/dev/null 2>&1; then $(BIN)/pre-commit install; fi

demo: $(VENV)/.user
	KERAS_BACKEND=jax $(BIN)/python tools/demo.py --output demo-output

$(VENV)/keras-$(OLDEST_KERAS): $(VENV)/.dev
	$(PIP) install --no-deps --target $@ keras==$(OLDEST_KERAS)

# Two runs at a time, for two cores; each line of theirs says whose it is. Every run goes to its end, also after one failed; the result
# is failure if any failed.
FAILED := $(VENV)/failed
RUNS   := $(BACKEND:%=test-%) $(if $(PYTEST),,test-oldest-keras test-fuzz)
test: $(BACKEND:%=$(VENV)/.%) $(VENV)/keras-$(OLDEST_KERAS)
	@rm -f $(FAILED); printf '%s\n' $(RUNS) | xargs -P 2 -I{} bash -c 'set -o pipefail; run={}; \
	  $(MAKE) --no-print-directory -s {} 2>&1 | sed -u "s/^/$${run#test-}: /" || echo " $${run#test-}" >> $(FAILED)'
	@if [ -f $(FAILED) ]; then echo "failed on:" $$(cat $(FAILED)) >&2; exit 1; fi; echo "passed on: $(BACKEND)"

$(BACKENDS:%=test-%): test-%: $(VENV)/.%
	KERAS_BACKEND=$* PYTEST_ADDOPTS="$$PYTEST" $(BIN)/python -m pytest -q

# The oldest Keras supported, beside the newest that .venv has: live flags lean on Keras' internals (trainable/hooks.py).
SECOND := $(word 2,$(BACKEND) $(BACKEND))
test-oldest-keras: $(VENV)/.$(SECOND) $(VENV)/keras-$(OLDEST_KERAS)
	PYTHONPATH=$(VENV)/keras-$(OLDEST_KERAS) KERAS_BACKEND=$(SECOND) $(BIN)/python -m pytest -q tests/trainable

test-fuzz: $(VENV)/.dev
	KERAS_BACKEND=$(firstword $(BACKEND)) $(BIN)/python $(FUZZ) --seconds 60 --seed 1

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: $(VENV)/.jax $(VENV)/.torch $(VENV)/.tensorflow
	$(BIN)/python tools/make_architecture_tree.py
	for tool in tools/make_*_doc.py; do KERAS_BACKEND=jax $(BIN)/python $$tool || exit 1; done
	$(BIN)/python tools/measure_traps.py --write docs/finetuning.md

golden: $(VENV)/.peers
	KERAS_BACKEND=tensorflow $(BIN)/python tools/make_golden.py $(SECTION)

bench: $(VENV)/.peers
	$(BIN)/python benchmarks/run.py

corpus: $(BACKEND:%=$(VENV)/.%)
	$(BIN)/python tests/corpus/score.py $(MODELS) --backend $(BACKEND) $(SCORE) \
	  --json $(OUTPUT)/scoreboard.json --markdown $(OUTPUT)/scoreboard.md

# Atheris has no wheels for every system: it is asked for only where it is wanted.
$(VENV)/.atheris: $(VENV)/.dev
	$(PIP) install 'atheris>=3'
	@touch $@

fuzz: $(VENV)/$(if $(filter atheris,$(ENGINE)),.atheris,.dev)
	KERAS_BACKEND=jax $(BIN)/python $(FUZZ) --engine $(ENGINE) $(if $(FORMAT),--format $(FORMAT)) \
	  $(if $(EXECUTIONS),--executions $(EXECUTIONS),--seconds $(SECONDS))

size:
	@git ls-files 'src/*.py' | xargs wc -l | sort -n

clean:
	rm -rf $(VENV) demo-output corpus-output build dist
