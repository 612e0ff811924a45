# SPDX-License-Identifier: GPL-3.0-or-later
# Everything a newcomer or CI needs. `make help` lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := $(CURDIR)/.venv
BIN := $(VENV)/bin
export PATH := $(BIN):$(PATH)
# The checkout is the collection's root; Ansible wants to find it under ansible_collections/ninepaths/kubernetes.
COLLECTIONS := $(CURDIR)/build/collections
export ANSIBLE_COLLECTIONS_PATH := $(COLLECTIONS)

include tests/testbed/testbed.mk

help: ## list the targets
	@grep -hE '^[a-z][a-z-]*:.*##' $(MAKEFILE_LIST) | sort | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 18

setup: testbed-setup $(VENV)/.ready collection-link ## install what the tests and the bed need (apt packages, a virtual environment)

# Python packages are locked with hashes; one lock file per supported interpreter line.
PYTHON ?= python3
$(VENV)/.ready: requirements/dev.txt
	@echo "setup    virtual environment"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

collection-link:
	@mkdir -p $(COLLECTIONS)/ansible_collections/ninepaths
	@ln -sfn $(CURDIR) $(COLLECTIONS)/ansible_collections/ninepaths/kubernetes

lock: ## renew requirements/dev.txt from pyproject.toml
	$(BIN)/pip install --quiet pip-tools
	$(BIN)/pip-compile --quiet --generate-hashes --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --strip-extras \
	  --extra dev --output-file requirements/dev.txt pyproject.toml

lint: setup ## ruff, mypy, yamllint, ansible-lint
	@tests/lint

unit: setup ## unit and property tests
	@$(BIN)/python -m pytest tests/unit

sanity: setup ## ansible-test sanity, without ignores
	@tests/sanity/run.sh

integration: setup ## bad input on a real cluster, and the collection as its users install it
	@tests/with-bed tests $(BIN)/python -m pytest tests/integration tests/collection

molecule: setup ## the default scenario: a real 1+1 cluster, hardened, verified, hardened again
	@$(BIN)/molecule test --scenario-name default

molecule-ha: setup ## the HA scenario: 3 control planes behind a load balancer
	@$(BIN)/molecule test --scenario-name ha

test: ## everything CI runs (under 60 minutes with a warm cache)
	@tests/all

versions: setup ## supported minors and Python 3.9 on real clusters: VERSIONS="1.31 1.36/bullseye"
	@$(BIN)/python -m tests.versions

test-long: test versions ## what is too long for CI, too

demo: setup ## from nothing to a hardened real cluster and its report
	@tests/demo

docs: setup ## generate the reference pages
	@$(BIN)/python -m tools.docs

flags: setup ## read flags, types and defaults from the binaries of every minor
	@tools/flags/generate

.PHONY: help setup collection-link lock lint unit sanity integration molecule molecule-ha versions test test-long demo docs flags
