# Two commands: `make demo` and `make test`. Everything they need is set up on first use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup demo test test-faults check bench lock clean

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else "Python 3.11 to 3.13 is needed, this is %d.%d: try make PYTHON=python3.12" % v)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.8
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $(STAMP)

demo: setup
	$(BIN)/xpaste demo --out runs/demo

test: setup
	$(BIN)/python -m pytest

test-faults: setup
	$(BIN)/python -m pytest -m 'faults and not slow and not gpu'

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup
	$(BIN)/python benchmarks/embedded_models.py
	$(BIN)/python benchmarks/demo.py
	$(BIN)/python benchmarks/demo.py --preset empaste-demo
	$(BIN)/python benchmarks/foregrounds.py
	$(BIN)/python benchmarks/em.py
	$(BIN)/python benchmarks/proposals.py
	$(BIN)/python benchmarks/pool.py
	$(BIN)/python benchmarks/compose.py
	$(BIN)/python benchmarks/serve.py
	$(BIN)/python benchmarks/generate.py
	$(BIN)/python benchmarks/segment.py
	$(BIN)/python benchmarks/pipeline.py
	$(BIN)/python benchmarks/selection.py
	$(BIN)/python benchmarks/mini_lvis_study.py --work runs/mini-lvis
	$(BIN)/python benchmarks/tables.py

lock:
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --extra dev pyproject.toml --output-file requirements.lock

clean:
	rm -rf $(VENV) runs/demo build *.egg-info
