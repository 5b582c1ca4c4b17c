# Everything a newcomer runs. `make demo` and `make test` need Python 3.11+, make and a package registry, nothing else.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Passed on to pip, for example: make demo PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"
PIP_ARGS ?=
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock $(PIP_ARGS)
PYTEST = $(BIN)/python -m pytest
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup dev demo check lint types imports test test-all test-fast compiled test-compiled test-vllm test-llamacpp test-exports test-banking77 bench bench-gateway lock clean

help: ## Show this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/  \1\t\2/' | expand -t 20

$(BIN)/.runtime: pyproject.toml requirements.lock
	@command -v $(PYTHON) >/dev/null || { echo "error: '$(PYTHON)' was not found. Install Python 3.11 or newer, or pass PYTHON=/path/to/python3."; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $$($(PYTHON) --version) is too old. Expected Python 3.11 or newer; pass PYTHON=/path/to/python3."; exit 2; }
	@echo "Setting up $(VENV) (one to three minutes, once) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) --upgrade pip
	@$(PIP) --editable '.[all]'
	@touch $@

$(BIN)/.dev: $(BIN)/.runtime
	@echo "Adding what the tests need ..."
	@$(PIP) --group dev
	@touch $@

setup: $(BIN)/.runtime ## Create the environment in .venv

dev: $(BIN)/.dev ## The environment with the tools for tests and checks

demo: $(BIN)/.runtime ## Run the whole loop, from raw data to rollback
	@$(BIN)/modelyard demo $(ARGS)

check: lint types imports ## Lint, types and import contracts

lint: $(BIN)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(BIN)/.dev
	$(BIN)/mypy

imports: $(BIN)/.dev
	$(BIN)/lint-imports

OUTSIDE = not banking77 and not vllm and not llamacpp and not exports

test: $(BIN)/.dev ## The test suite, but for the longest
	$(PYTEST) -n $(WORKERS) --dist loadfile -m "not long and $(OUTSIDE)" $(ARGS)

test-all: $(BIN)/.dev ## The whole test suite, but for what has a target of its own
	$(PYTEST) -n $(WORKERS) --dist loadfile -m "$(OUTSIDE)" $(ARGS)

test-fast: $(BIN)/.dev ## The tests that take no more than moments
	$(PYTEST) -n $(WORKERS) --dist loadfile -m "not slow and not long and $(OUTSIDE)" $(ARGS)

test-banking77: $(BIN)/.dev ## The loop on real customer questions (needs the data set beside the checkout)
	$(PYTEST) -m banking77 -s $(ARGS)

# The source tree holds no compiled module: one would hide the file that it was made of.
COMPILED := build/compiled
$(COMPILED)/.done: $(BIN)/.dev hatch_build.py pyproject.toml $(shell find src -name '*.py')
	@echo "Compiling what every request passes through (one to two minutes) ..."
	@rm -rf $(COMPILED)
	@MODELYARD_COMPILE=1 $(PIP) --no-deps --target $(COMPILED) .
	@touch $@

compiled: $(COMPILED)/.done ## The gateway with its hot path compiled, in build/compiled (needs a C compiler)

test-compiled: compiled ## The gateway's tests, but for the longest, on the compiled one
	PYTHONPATH=$(COMPILED) $(PYTEST) -n $(WORKERS) --dist loadfile -m "not long and $(OUTSIDE)" tests/gateway $(ARGS)

test-vllm: $(BIN)/.dev ## The demo's adapter in a real vLLM (installs it in .venv-vllm)
	bash scripts/vllm_env.sh
	$(PYTEST) -m vllm -s $(ARGS)

test-llamacpp: $(BIN)/.dev ## The conformance suite on a real llama-server (compiles it in .venv-llamacpp)
	bash scripts/llamacpp_env.sh
	$(PYTEST) -m llamacpp -s $(ARGS)

test-exports: $(BIN)/.dev ## Exports by llama.cpp and llm-compressor (compiles and installs them in .venv-gguf, .venv-quantize)
	bash scripts/gguf_env.sh
	bash scripts/quantize_env.sh
	$(PYTEST) -m exports $(ARGS)

bench: $(BIN)/.dev ## Data preparation beside its peers: speed, memory, near-duplicates, personal data (about 10 minutes)
	bash benchmarks/peers/setup.sh
	$(BIN)/python benchmarks/preparation.py $(ARGS)
	$(BIN)/python benchmarks/near_duplicates.py
	$(BIN)/python benchmarks/personal_data.py

bench-gateway: compiled ## The gateway beside nginx, vllm-router, Portkey and LiteLLM (needs wrk; about 20 minutes)
	bash benchmarks/peers/setup_gateway.sh
	$(BIN)/python benchmarks/gateway/compare.py $(ARGS)

lock: $(BIN)/.dev ## Write requirements.lock from the environment as it is
	$(BIN)/python scripts/lock.py > requirements.lock.new && mv requirements.lock.new requirements.lock

clean: ## Remove the environments and what the demo made
	rm -rf $(VENV) build .venv-vllm .venv-llamacpp .venv-gguf .venv-quantize .modelyard
