# `make run` and `make test` need Python 3.11+, git and make: nothing else, no docker.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.9
LOCK := local/requirements.lock
STAMP := $(VENV)/.installed
EMBEDDED := packages/embedded-clickhouse
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

# Which families the stack runs, such as statistics; all that there are where it is empty.
export FAMILIES

# The interpreter outside the environment will not do: the stack's commands need what is installed in it.
LOCAL := $(BIN)/python -m local

# Python may keep what it has compiled, wherever this runs: otherwise every process of Airflow compiles all of it again,
# which nearly doubles its start, and so does every process of the tests.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install lock run up stop down status logs seed feed backfill recache airflow report screenshots test lint typecheck format bench-daily bench-cardinality bench-backfill bench-realtime bench-clickhouse bench-pages bench-operators soak soak-clickhouse test-faults test-peers test-embedded-install clean distclean

help:
	@echo "make run        install, start everything, load sample data, compute the last 7 days, show them, go live [FAMILIES=statistics]"
	@echo "make up | stop | status | logs | report"
	@echo "make seed       load the sample data that is not there yet        [ARGS='--days 60 --scale 2']"
	@echo "make feed       live traffic, 2,000 rows/s into each table, Ctrl-C ends [ARGS='--rate 500 --seconds 60']"
	@echo "make backfill   FROM=2026-11-01 TO=2026-11-10                     [ARGS='--reprocess completed']"
	@echo "make recache    FROM=2026-11-01 TO=2026-11-10   into Valkey again, as the table has them"
	@echo "make airflow    Airflow's own command line            [ARGS='dags list']"
	@echo "make screenshots   of the pages, for the README, of the running stack; needs Chromium"
	@echo "make test       lint, type check and all tests; make lint | typecheck | format for one of them"
	@echo "make bench-daily | bench-cardinality | bench-backfill DAYS=60 | bench-realtime [ARGS=--quick] | bench-clickhouse | bench-pages | bench-operators [ARGS=--quick]"
	@echo "make soak MINUTES=30   the live loops under traffic, kills and stalls; figures must be exact in the end"
	@echo "make soak-clickhouse   the embedded ClickHouse under kills and under 24 clients"
	@echo "make test-faults   clock steps, full disks, power cut, two commands at once [ARGS=disks]; needs root on Linux"
	@echo "make test-peers   dlt, dbt and ibis on the embedded ClickHouse, in environments of their own [ARGS=dlt]"
	@echo "make test-embedded-install   the embedded ClickHouse in an empty environment, with a stranger's test of three lines"
	@echo "make clean      stop, remove all data and caches; make distclean also the installed packages"

install: $(STAMP)

$(VENV)/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, $(PYTHON) is " + sys.version.split()[0] + ": make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

# Installed again only when the lock changes, or what the embedded ClickHouse's package says of itself. That one has no
# hash, for it is built of this checkout: by uv itself and without a download, and its code is used where it lies.
$(STAMP): $(LOCK) $(EMBEDDED)/pyproject.toml $(VENV)/bin/uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r $(LOCK)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --offline --no-deps --editable $(EMBEDDED)
	@touch $@

lock: $(VENV)/bin/uv
	$(COMPILE) requirements.txt -o requirements.lock
	$(COMPILE) requirements.txt docker/requirements.txt -c requirements.lock -o docker/requirements.lock
	$(COMPILE) requirements.txt local/requirements.txt -c requirements.lock -o local/requirements.lock

run: install
	@$(LOCAL) run $(ARGS)

up: install
	@$(LOCAL) up

stop down:
	@if [ -e $(STAMP) ]; then $(LOCAL) down; else echo "nothing is installed, so nothing runs"; fi

status logs report: install
	@$(LOCAL) $@ $(ARGS)

seed: install
	@$(LOCAL) seed $(ARGS)

feed: install
	@$(LOCAL) feed $(ARGS)

backfill: install
	@if [ -z "$(FROM)" ] || [ -z "$(TO)" ]; then \
		echo "usage: make backfill FROM=2026-11-01 TO=2026-11-10 (both included, in the statistics time zone)" >&2; exit 2; fi
	@$(LOCAL) backfill --from "$(FROM)" --to "$(TO)" $(ARGS)

recache: install
	@if [ -z "$(FROM)" ] || [ -z "$(TO)" ]; then \
		echo "usage: make recache FROM=2026-11-01 TO=2026-11-10 (both included, in the statistics time zone)" >&2; exit 2; fi
	@$(LOCAL) recache --from "$(FROM)" --to "$(TO)" $(ARGS)

airflow: install
	@$(LOCAL) airflow $(ARGS)

# Of the stack that `make run` has started, for the README.
screenshots: install
	@$(BIN)/python -m local.screenshots

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

typecheck: install
	$(BIN)/mypy

# Each measures two ways side by side in one run; nothing of it is part of the tests.
bench-cardinality: install
	@PYTHONPATH=.:plugins $(BIN)/python -m benchmarks.statistics.cardinality $(ARGS)

bench-daily: install
	@PYTHONPATH=.:plugins $(BIN)/python -m benchmarks.statistics.daily $(ARGS)

bench-backfill: install
	@PYTHONPATH=.:plugins $(BIN)/python -m benchmarks.statistics.backfill $(if $(DAYS),--days $(DAYS)) $(ARGS)

bench-realtime: install
	@PYTHONPATH=.:plugins $(BIN)/python -m benchmarks.statistics.realtime $(ARGS)

bench-clickhouse: install
	@PYTHONPATH=$(EMBEDDED)/benchmarks $(BIN)/python -m clickhouse_benchmarks $(ARGS)

bench-pages: install
	@PYTHONPATH=.:plugins $(BIN)/python -m benchmarks.statistics.pages $(ARGS)

bench-operators: install
	@PYTHONPATH=.:plugins $(BIN)/python -m benchmarks.statistics.operators $(ARGS)

# Traffic, random kills and stalls of every part, and exact figures in the end; leaves nothing behind.
soak: install
	@PYTHONPATH=.:plugins $(BIN)/python -m benchmarks.statistics.soak $(if $(MINUTES),--minutes $(MINUTES)) $(ARGS)

# The embedded ClickHouse alone: rounds of kill -9 under writers, then a minute of 24 clients.
soak-clickhouse: install
	@PYTHONPATH=$(EMBEDDED)/benchmarks $(BIN)/python -m clickhouse_benchmarks.soak kills
	@PYTHONPATH=$(EMBEDDED)/benchmarks $(BIN)/python -m clickhouse_benchmarks.soak load

# Faults of the machine on a stack of its own, in a mount namespace; prints a table, leaves nothing behind.
test-faults: install
	@PYTHONPATH=.:plugins $(BIN)/python -m tests.faults $(ARGS)

# Tools that others wrote for ClickHouse. They install half a gigabyte of their own, so they are no part of `make test`.
test-peers: install
	@$(BIN)/python -m tests.peers $(ARGS)

# The embedded ClickHouse as strangers install it: into an empty environment, from the package index.
test-embedded-install: install
	@$(BIN)/python $(EMBEDDED)/tests/try_install.py

# How many processes, and which tests share one, is said in tests/conftest.py; each has servers of its own.
test: lint typecheck
	$(BIN)/python -m pytest --numprocesses=auto --dist=loadscope --no-loadscope-reorder $(ARGS)

clean:
	@if [ -e $(STAMP) ]; then $(LOCAL) clean; \
	elif [ -e .local ]; then echo "nothing is installed: .local is left (make install clean removes it)"; fi
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -path ./$(VENV) -prune -o -type d -name __pycache__ -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)
