# What one types here. Each goal sets up .venv first if that is not done.
#   make demo    pre-train, probe and report on the embedded data
#   make test    the tests
#   make check   everything CI runs: style, types, import law, tests, browser tests where Chromium is
#   make clean   remove the environment and caches, not the runs

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
READY := .venv/.ready
TESTS := $(BIN)/python -m pytest -n 2 --dist worksteal

.PHONY: demo test check clean

demo: $(READY)
	bash runs/demo.sh

test: $(READY)
	$(TESTS)

check: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(TESTS)
	@if command -v chromium >/dev/null; then $(BIN)/python -m pytest -m browser; \
	else echo "browser tests left out: no chromium on this machine"; fi

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "nextpatch needs Python 3.11 or newer; name one: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build src/*.egg-info
