# `make app` and `make test` do all the set-up on a machine that has only Python 3.11.
PYTHON ?= python3.11
BIN := .venv/bin
export HF_HUB_DISABLE_TELEMETRY := 1
export TOKENIZERS_PARALLELISM := false

.PHONY: app test test-all lint chromium screenshots clean

.venv/app: requirements.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	touch $@

.venv/dev: requirements.txt requirements-ray.txt requirements-dev.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --requirement requirements-dev.txt
	touch .venv/app $@

app: .venv/app
	@echo "ISI Studio: look at http://localhost:8501 (stop with Ctrl+C)"
	$(BIN)/streamlit run Home.py

# Headless Chromium for the browser tests: Debian's package where it is missing and can be installed.
chromium:
	@command -v chromium >/dev/null || { apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium >/dev/null; } \
		|| echo "Chromium is missing and could not be installed: the browser tests will fail."

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: .venv/dev chromium
	$(BIN)/python -m pytest

# Also the slow forms of tests: the command `sweep` killed ten times wherever it is.
test-all: .venv/dev chromium
	ISI_SLOW_TESTS=1 $(BIN)/python -m pytest

# The pictures of the README, taken of the running app.
screenshots: .venv/dev chromium
	$(BIN)/python -m tests.browser.screenshots

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
