# Two commands set everything up on Debian or Ubuntu with Python 3.11 to 3.14:
# `make demo` runs the main job, `make test` the tests.

# The newest Python that constraints.txt has packages for.
# It is run, not looked for: pyenv has commands of versions that are switched off,
# and Debian has a Python without the parts that make an environment.
# An environment that is there keeps its own until `make clean` or another PYTHON.
PYTHONS := python3.14 python3.13 python3.12 python3.11 python3
CAN_MAKE_VENV := import sys, ensurepip, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 15))
PYTHON ?= $(shell for name in $(BIN)/python $(PYTHONS); do \
  if $$name -c '$(CAN_MAKE_VENV)' 2>/dev/null; then echo $$name; break; fi; done)
BIN := .venv/bin
DATA ?= $(WAV2SMALL_DATA)

.PHONY: help install demo page test test-quick coverage test-lowest wheels lint dist docs pictures models checksums bench interop bench-firmware clean

help:  ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

# The stamp is the last thing written: an install that was cut short is repeated.
.venv/installed: pyproject.toml constraints.txt
	@python='$(PYTHON)'; "$${python:-python3}" -c '$(CAN_MAKE_VENV)' 2>/dev/null || { \
	  echo "error: PYTHON must be Python 3.11 to 3.14 with venv, got $${python:-none}:" \
	    "apt-get install python3-venv (it is python3.11-venv on Debian 12, python3.13-venv" \
	    "on Debian 13, python3.12-venv on Ubuntu 24.04), or make PYTHON=/path/to/python"; \
	  exit 1; } >&2; \
	"$$python" -m venv $$(test "$$python" = $(BIN)/python || echo --clear) .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[train,report,logs,dev]'
	@touch $@

install: .venv/installed  ## Make the environment in .venv

demo: install  ## Run the main job on bundled audio with the bundled teacher
	$(BIN)/wav2small demo --out runs/demo

page: install  ## Make the page of the bundled models, runs/page.html
	$(BIN)/wav2small page wav2small-rt wav2small-rt-mini wav2small runs/page.html

# Bytecode is kept whatever the environment says: the tests start hundreds of processes.
PYTEST := env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -n 2 --dist loadfile tests

test: install  ## Run the tests (WAV2SMALL_DATA: folder of real speech, optional)
	$(PYTEST)

coverage: install  ## Run the tests and hold branch coverage against 90 %
	$(PYTEST) --cov --cov-report=term --cov-report=xml --cov-fail-under=90

# uv can take the lowest versions that pyproject.toml allows, which pip cannot.
LOWEST := .venv-lowest/bin
test-lowest:  ## Run the tests on the lowest versions that pyproject.toml allows
	$(PYTHON) -m venv .venv-lowest
	$(LOWEST)/python -m pip install --quiet uv
	$(LOWEST)/uv pip install --quiet --python $(LOWEST)/python \
	  --resolution lowest-direct -e '.[train,report,logs,dev]'
	$(LOWEST)/python -m pytest -n 2 --dist loadfile tests

wheels: install  ## Ask the index for which Pythons and systems there are wheels
	$(BIN)/python -m pip install --quiet uv
	PATH="$$PWD/$(BIN):$$PATH" $(BIN)/python examples/wheels.py

test-quick: install  ## Run the tests but the slow ones and those in emulators and browsers
	$(PYTEST) -m 'not slow and not emulator and not browser'

lint: install  ## Check style, types and spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell

# The wheel is built twice, from the tree and from the sdist, and has to be the same.
# What was built before would be packed with it. The sdist runs a few of its own tests.
FEW_TESTS := -m "not slow" tests/test_architecture.py tests/test_docs.py
dist: export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct)
dist: install  ## Build and check sdist and wheel in dist
	$(BIN)/python -m pip install --quiet -c constraints.txt build twine
	rm -rf build dist
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python -m build --wheel --outdir build/again .
	cmp dist/*.whl build/again/*.whl
	tar -xzf dist/*.tar.gz -C build/again
	cd build/again/wav2small-*/ && $(CURDIR)/$(BIN)/python -m pytest -q $(FEW_TESTS)
	$(BIN)/twine check --strict dist/*
	test "$$(cat dist/*.whl | wc -c)" -le 12582912

docs: install  ## Build the site in build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

pictures: install  ## Make the pictures of the documentation again (DATA: folder of speech)
	$(BIN)/python examples/doc_pictures.py $(DATA) docs
	$(BIN)/python examples/guide_pictures.py
	$(BIN)/python examples/listening_picture.py $(DATA) docs/listening.png

models: install  ## Train the bundled models again (DATA: folder of speech; hours)
	$(BIN)/python examples/hearing_students.py $(DATA) runs/models --bundle \
	  --student wav2small wav2small-rt wav2small-rt-mini

checksums: install  ## Write the manifests of what is in the package, after a change of it
	$(BIN)/python examples/write_checksums.py

bench: install  ## Time int8, the input pipeline, the label store, annotation, and scoring (DATA: speech)
	$(BIN)/python examples/bench.py
	$(BIN)/python examples/bench_annotate.py $(DATA)
	$(BIN)/python examples/bench_predict.py $(DATA)

interop: install  ## Run the bundled models in old onnxruntimes and in WebAssembly
	$(BIN)/python examples/old_runtimes.py

bench-firmware: install  ## Compare the C with other tools for small cores (DATA: speech)
	$(BIN)/python examples/bench_firmware.py $(DATA)

clean:  ## Remove the environment and what runs made
	rm -rf .venv .venv-lowest runs
