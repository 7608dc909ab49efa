# make serve, make test and make check each do all the set-up that they need.
HOST ?= 127.0.0.1
PORT ?= 8000
BIN := .venv/bin
.DEFAULT_GOAL := help
.PHONY: help serve test test-processes test-serving test-rest test-slow check format lock clean bench bench-full proto page
# Without stored bytecode every process that imports torch compiles it for seconds; some containers set this.
unexport PYTHONDONTWRITEBYTECODE

help:
	@echo 'make serve    start everything on http://$(HOST):$(PORT)  (HOST=, PORT=)'
	@echo 'make test     run the test suite  (ARGS="-k lesion")'
	@echo 'make test-slow  run the slow tests that make test leaves out (CONTRIBUTING.md)'
	@echo 'make check    lint, formatting, types, import contracts'
	@echo 'make format   let ruff format and fix'
	@echo 'make lock     compile requirements.lock from pyproject.toml, and those of bench/baselines and tests/e2e'
	@echo 'make page     join the modules of ui/static into the scripts that browsers get'
	@echo 'make proto    generate the Python code of the gRPC service'
	@echo 'make bench    measure the main table of docs/performance.md in half an hour; make bench-full the other tables'

serve: .venv/installed
	@exec $(BIN)/python -m serve --host $(HOST) --port $(PORT)

# Three parts run in parallel on two cores: tests that start servers, clusters or browsers spend much time waiting.
STARTS := server or browser or cluster
SERVING := tests/cli tests/serve tests/ui

test: .venv/installed .venv-triton/installed
ifdef ARGS
	$(BIN)/python -m pytest $(ARGS)
else
	@$(MAKE) --no-print-directory --jobs=3 --keep-going test-processes test-serving test-rest
endif

# Only folders with such tests are collected (tests/test_makefile.py). The page's tests start no server of ours: those
# of the tests before have ended by then.
test-processes: .venv/installed .venv-triton/installed
	$(BIN)/python -m pytest -m '$(STARTS)' tests/e2e tests/fuzz
	$(BIN)/python -m pytest -m '$(STARTS)' tests/ui

test-serving: .venv/installed
	$(BIN)/python -m pytest -m 'not ($(STARTS))' $(SERVING)

test-rest: .venv/installed
	$(BIN)/python -m pytest -m 'not ($(STARTS))' $(SERVING:%=--ignore=%)

test-slow: .venv/installed
	$(BIN)/python -m pytest -m slow $(ARGS)

check: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

format: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: .venv/installed
	$(BIN)/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes \
		--no-header --quiet --upgrade -o requirements.lock
	sed -nE 's/^((fastapi|numpy|onnx|onnxruntime|pi-heif|pillow|pydantic|safetensors|scipy|torch|torchvision|uvicorn)==.*) \\$$/\1/p' requirements.lock | \
		$(BIN)/uv pip compile bench/baselines/requirements.in --constraint /dev/stdin --universal --python-version 3.11 \
		--generate-hashes --no-header --quiet --upgrade -o bench/baselines/requirements.lock
	$(BIN)/uv pip compile tests/e2e/triton_client/requirements.in --universal --python-version 3.11 \
		--generate-hashes --no-header --quiet --upgrade -o tests/e2e/triton_client/requirements.lock

# The generated code is checked in: an installation needs no compiler.
GRPC_API := serve/open_inference/grpc_api
proto: .venv/installed
	$(BIN)/uv run --isolated --no-project --with grpcio-tools==1.85.1 python -m grpc_tools.protoc -I. \
		--python_out=. --pyi_out=. --grpc_python_out=. $(GRPC_API)/open_inference.proto

# The bundles are checked in: an installation needs no Node.
page: .venv/installed
	$(BIN)/python -m scripts.bundle_page

bench: .venv/installed .venv-baselines/installed
	$(BIN)/python -m bench.all

bench-full: .venv/installed .venv-baselines/installed
	$(BIN)/python -m bench.all --full

clean:
	rm -rf .venv .venv-baselines .venv-triton

# Baselines of the benchmarks, in an environment of their own.
.venv-baselines/installed: bench/baselines/requirements.lock | .venv/installed
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-baselines
	$(BIN)/uv pip sync --quiet --python .venv-baselines/bin/python --require-hashes bench/baselines/requirements.lock
	touch $@

# The real client of the Open Inference Protocol, for tests/e2e/test_open_inference.py.
.venv-triton/installed: tests/e2e/triton_client/requirements.lock | .venv/installed
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-triton
	$(BIN)/uv pip sync --quiet --python .venv-triton/bin/python --require-hashes $<
	touch $@

# The first Python of the right version that really starts; a pyenv shim may not.
.venv/installed: requirements.lock pyproject.toml
	@python=; for name in $(PYTHON) python3.12 python3.11 python3.13 python3 python; do \
		if $$name -c 'import sys, ensurepip, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
			>/dev/null 2>&1; then python=$$name; break; fi; done; \
	if [ -z "$$python" ]; then \
		echo 'skinserve needs Python 3.11, 3.12 or 3.13 with its venv module; install one (Debian, Ubuntu: apt install' \
			'python3-venv), or name it: make serve PYTHON=/path/to/python3.12' >&2; exit 1; fi; \
	free_gb=$$(df -Pk . | awk 'NR == 2 { print int($$4 / 1048576) }'); \
	if [ "$$free_gb" -lt 8 ] && [ ! -d .venv ]; then \
		echo "skinserve needs 8 GB of disk for its packages, $$free_gb GB are free here; make room and try again" >&2; exit 1; fi; \
	echo 'Installing packages into .venv (once; several GB with PyTorch)'; \
	$$python -m venv .venv && \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv && \
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock && \
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable . && \
	touch $@
