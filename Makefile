# Two commands set everything up on Debian or Ubuntu with Python 3.11:
# `make demo` runs the main job, `make test` the tests.
PYTHON ?= python3.11
BIN := .venv/bin
DATA ?= $(WAV2SMALL_DATA)

.PHONY: help install demo test lint models bench interop bench-firmware clean

help:  ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

# The stamp is the last thing written: an install that was cut short is repeated.
.venv/installed: pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { \
	  echo "error: $(PYTHON) is missing: apt-get install python3.11-venv, or make PYTHON=..."; exit 1; }
	@$(PYTHON) -m venv .venv || { \
	  echo "error: no virtual environment: apt-get install python3.11-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[train,report,logs,dev]'
	@touch $@

install: .venv/installed  ## Make the environment in .venv

demo: install  ## Run the main job on bundled audio with the bundled teacher
	$(BIN)/wav2small demo --out runs/demo

test: install  ## Run the tests (WAV2SMALL_DATA: folder of real speech, optional)
	$(BIN)/python -m pytest -n 2 --dist loadfile tests

lint: install  ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

models: install  ## Train the bundled models again (DATA: folder of speech; hours)
	$(BIN)/python examples/real_speech.py $(DATA) runs/models --bundle \
	  --student wav2small wav2small-rt wav2small-rt-mini

bench: install  ## Time int8, the input pipeline, the label store, and annotation (DATA: speech)
	$(BIN)/python examples/bench.py
	$(BIN)/python examples/bench_annotate.py $(DATA)

interop: install  ## Run the bundled models in old onnxruntimes and in WebAssembly
	$(BIN)/python examples/old_runtimes.py

bench-firmware: install  ## Compare the C with other tools for small cores (DATA: speech)
	$(BIN)/python examples/bench_firmware.py $(DATA)

clean:  ## Remove the environment and what runs made
	rm -rf .venv runs
