PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN = .venv/bin

.PHONY: audit controls test check install clean

audit: install  ## the default audit: tables and a report in audit-results/
	$(BIN)/seethrough run --out audit-results

test: install check  ## lint, types and all tests but the slow ones
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow"

controls: install  ## negative and positive controls over 200 seeds, with false-alarm rates (slow)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow -s tests/test_controls.py

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

install: .venv/installed

.venv/installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	touch $@

clean:
	rm -rf .venv audit-results build *.egg-info
