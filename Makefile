# `make run` and `make test` need Python 3.11+, git and make: nothing else, no docker.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.9
LOCK := local/requirements.lock
STAMP := $(VENV)/.installed

.PHONY: install lock
install: $(STAMP)

$(VENV)/bin/uv:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

# Installed again only when the lock changes.
$(STAMP): $(LOCK) $(VENV)/bin/uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r $(LOCK)
	@touch $@

lock: $(VENV)/bin/uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header requirements.txt -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header requirements.txt local/requirements.txt -c requirements.lock -o local/requirements.lock
