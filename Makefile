# The project's commands. `make demo` and `make test` need nothing but python3 (3.11 or newer) with venv, and make;
# `make test` installs the peers it tests against with apt, where it may.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Debian packages: the peers and tools of tests and benchmarks; nothing of this is needed to run the gateway.
PEER_PACKAGES := chromium dcmtk dicom3tools libgdcm-tools orthanc socat strace iproute2 prometheus prometheus-alertmanager e2fsprogs \
  redis-server redis-sentinel postgresql pgbouncer docker-compose systemd rsyslog rsyslog-openssl

.PHONY: help demo run test check lint bench bench-scale bench-smoke chaos fuzz fuzz-api install install-tests install-peers clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)

# A stamp a set of packages: made again when what it was made from changes.
$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[codecs,reidentification]'
	touch $@

$(VENV)/.installed-tests: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[codecs,reidentification,scale,test,check]'
	touch $(VENV)/.installed $@

install: $(VENV)/.installed  ## the gateway in .venv

install-tests: $(VENV)/.installed-tests install-peers

install-peers:
	@missing=""; for package in $(PEER_PACKAGES); do \
	  dpkg-query -W -f='$${Status}' $$package 2>/dev/null | grep -q 'install ok installed' || missing="$$missing $$package"; \
	done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ]; then sudo=""; elif command -v sudo >/dev/null; then sudo="sudo -n"; else sudo="false"; fi; \
	echo "installing$$missing"; \
	$$sudo apt-get -qq update >/dev/null && \
	DEBIAN_FRONTEND=noninteractive $$sudo apt-get -qq install -y --no-install-recommends $$missing >/dev/null || \
	{ echo "could not install$$missing: tests that need them will be skipped (and fail under CI=true), benchmarks fail"; [ -z "$$CI" ]; }

demo: $(VENV)/.installed  ## the main job on sample data: two archives, the gateway, a sender
	$(BIN)/gateway demo

run: $(VENV)/.installed  ## start the gateway with deploy/gateway.yaml
	$(BIN)/gateway run --config deploy/gateway.yaml

# Each of the gateways that the tests start, some hundreds, would compile what is not: where Python is told to write none.
test: install-tests  ## every test, with real peers; what CI runs
	$(BIN)/python -m compileall -q gateway
	$(BIN)/pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.installed-tests  ## formatting, lint, types, floors
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test  ## lint and test

bench-smoke: install-tests  ## every workload of the benchmark, once and small: does it run
	$(BIN)/python -m bench --smoke

bench: install-tests  ## measure beside peers; ONLY=name runs one
	$(BIN)/python -m bench $(ONLY)

bench-scale: install-tests  ## workers, Redis and PostgreSQL beside the defaults: what docs/scaling.md has its figures from
	$(BIN)/python -m bench scale queue database

chaos: install-tests  ## the long fault campaign: 1,000 kills, every system call of an acknowledgement (an hour)
	GATEWAY_CHAOS=long $(BIN)/pytest -m chaos --numprocesses 2 --dist load --timeout 7200 -p no:cacheprovider -rP

fuzz: $(VENV)/.installed-tests  ## 1,000,000 mutated streams through the upper layer
	$(BIN)/python -m tests.fuzz.fuzz_upper_layer --cases 1000000

fuzz-api: install-tests  ## schemathesis on a running gateway: many requests to every route of the API
	GATEWAY_FUZZ_API=300 $(BIN)/pytest tests/integration/test_api_fuzz.py --timeout 3600 -p no:cacheprovider

clean:  ## remove what make made
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
