# Everything works from a bare machine with Python and make: uv is fetched by pip if it is missing.
PYTHON ?= python3
VENV := .venv
UV := $(shell command -v uv 2>/dev/null || echo $(VENV)-uv/bin/uv)
BIN := $(VENV)/bin
DEMO := outputs/demo

# threads that wait must not spin: two processes on two cores would only wait for each other
export OMP_WAIT_POLICY := passive
export NO_MKDOCS_2_WARNING := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-unit test-parity lint type tables docs bench clean

help: ## show this text
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(BIN)/.ready $(BIN)/.chromium ## create .venv from uv.lock (installs uv by pip where it is missing)

$(VENV)-uv/bin/uv:
	$(PYTHON) -m venv $(VENV)-uv
	$(VENV)-uv/bin/pip install --quiet uv

$(BIN)/.ready: pyproject.toml uv.lock | $(if $(filter $(VENV)-uv/bin/uv,$(UV)),$(VENV)-uv/bin/uv)
	$(UV) sync --locked --extra dev --compile-bytecode --python $(PYTHON)
	@touch $@

# the tests of the page drive a browser; where none can be installed they are skipped, and say so
$(BIN)/.chromium: | $(BIN)/.ready
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null \
	  || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	    && { apt-get install -y chromium || { apt-get update && apt-get install -y chromium; }; } >/dev/null 2>&1; } \
	  || echo "chromium is not installed, so the tests of the page in a browser are skipped: apt-get install chromium"
	@touch $@

demo: setup ## held-out people in new poses by the shipped models, scored against the truth
	$(BIN)/python scripts/demo.py --out $(DEMO)

test: setup ## run all tests
	$(BIN)/pytest -n 2 --dist worksteal

test-unit: setup ## run the quick tests only
	$(BIN)/pytest -n 2 --dist worksteal -m "not slow"

test-parity: setup ## compare with outputs of the official code (PGPIS_PARITY names the folder)
	PGPIS_PARITY=$${PGPIS_PARITY:-../shared/parity} $(BIN)/pytest tests/parity tests/pictures/test_uv_texture.py

lint: setup ## check style
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

type: setup ## check types
	$(BIN)/mypy

tables: setup ## write the tables of options in docs/
	$(BIN)/python -m tools.option_tables

docs: setup ## build the site into site/
	$(BIN)/mkdocs build --strict

BENCHMARKS := pose_drawing sampling shortcuts mcld texture prepare metrics data synth \
	"pairs --done 10000 --seconds 10 --more-megabytes 200" \
	"video --films 1 --frames 8" "service --size 128x96 --steps 1"

bench: setup ## print the speed ratios (minutes); fails at the end where one is below its bound
	@failed=; for run in $(BENCHMARKS); do \
		set -- $$run; name=$$1; shift; echo "benchmarks/$$name.py $$*"; \
		$(BIN)/python benchmarks/$$name.py "$$@" || failed="$$failed $$name"; \
	done; test -z "$$failed" || { echo "below its bound, or failed:$$failed" >&2; exit 1; }

clean: ## remove what make created, except outputs/
	rm -rf $(VENV) $(VENV)-uv site .mypy_cache .ruff_cache .pytest_cache
