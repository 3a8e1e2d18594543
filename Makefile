PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN = .venv/bin
ROOMS = attacks audit common contracts defenses federation recipes reports src/seethrough

.DEFAULT_GOAL := help
.PHONY: audit campaign controls test coverage check docs install release clean help

audit: install  ## the default audit: tables and a report in audit-results/
	$(BIN)/seethrough run --out audit-results

test: install check  ## lint, types, docs and all tests but the slow ones
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow" $(COVERAGE)

coverage: COVERAGE = --cov --cov-report=term:skip-covered
coverage: test  ## the same, with the coverage of branches (a fifth slower)

controls: install  ## negative and positive controls over 200 seeds, with false-alarm rates (slow)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow -s tests/test_controls.py

campaign: install  ## faults, kills, power cuts and hostile files in full; writes the table of docs/reliability.md (an hour)
	mkdir -p build
	-OMP_NUM_THREADS=1 $(BIN)/python -m pytest -o junit_family=xunit1 --junitxml=build/campaign.xml $$($(BIN)/python -m tests.reliability.figures)
	$(BIN)/python -m tests.reliability.figures build/campaign.xml

check: install docs  ## lint, types, documentation and its links
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/deptry --no-ansi $(ROOMS)

docs: install  ## the documentation in build/site, every link checked
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir build/site

release: install  ## what would be published, built twice and tried in fresh environments, in build/release (half an hour)
	$(BIN)/python -m pip install --quiet --editable ".[test,release]"
	$(BIN)/python -m release

install: .venv/installed  ## seethrough and what its tests need, in .venv

.venv/installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	touch $@

clean:  ## remove what was installed and built
	rm -rf .venv audit-results build dist src/*.egg-info

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*##  */\1\t/p' $(MAKEFILE_LIST) | expand -t 12
