# SPDX-License-Identifier: GPL-3.0-or-later
# Everything a newcomer or CI needs; `make help` says what there is.

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

# A target is listed with the text behind its `##`, below the group that the text begins with.
help: ## Use: show this list
	@for group in Use Develop Maintain; do echo; echo "$$group"; \
	  sed -nE "s/^([a-z-]+):.*## $$group: /  \\1\\t/p" $(MAKEFILE_LIST) | expand -t 18; done

setup: testbed-setup $(VENV)/.ready collection-link ## Develop: install what tests and test bed need (apt packages with sudo, a virtual environment in .venv)

# Python packages are locked with hashes, for the oldest interpreter (ansible-core 2.19 is the last for Python 3.11) and for later ones.
PYTHON ?= python3
LOCK = requirements/dev-$$($(BIN)/python -c 'import sys; print("3.11" if sys.version_info < (3, 12) else "3.12")').txt
$(VENV)/.ready: $(wildcard requirements/dev-*.txt)
	@echo "setup    virtual environment"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r $(LOCK)
	@touch $@

collection-link: ## Use: let Ansible find this checkout as the installed collection, see README.md
	@mkdir -p $(COLLECTIONS)/ansible_collections/ninepaths
	@ln -sfn $(CURDIR) $(COLLECTIONS)/ansible_collections/ninepaths/kubernetes

lock: ## Maintain: renew the locked packages of the interpreter PYTHON from pyproject.toml; once with 3.11, once with a later one
	$(BIN)/pip install --quiet pip-tools
	$(BIN)/pip-compile --quiet --generate-hashes --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --strip-extras \
	  --extra dev --output-file $(LOCK) pyproject.toml

lint: setup ## Develop: check style and types (ruff, mypy, yamllint, shellcheck, ansible-lint)
	@tests/lint

unit: setup ## Develop: run the unit and property tests; needs no cluster
	@$(BIN)/python -m pytest tests/unit

fuzz: setup ## Develop: hostile input with forty times as many examples of each property as in `make unit`
	@NINEPATHS_FUZZ=40 $(BIN)/python -m pytest tests/unit/fuzz

sanity: setup ## Develop: run ansible-test sanity, without ignores
	@tests/sanity/run.sh

integration: setup ## Develop: try bad input on a real cluster, and the collection as its users install it
	@tests/with-bed tests $(BIN)/python -m pytest -m 'not changes_cluster and not joins and not upgrades' tests/integration tests/collection

integration-long: setup ## Develop: rollback, the letter of cis-level-2, logs while kubelets change, kube-proxy's roll
	@tests/with-bed tests-long $(BIN)/python -m pytest -m changes_cluster tests/integration

drift-short: setup ## Develop: a dozen kinds of drift by hand, and what --check predicts
	@tests/with-bed drift $(BIN)/python -m pytest -m short tests/drift

drift: setup ## Develop: every control broken by hand, one by one and at random, and repaired (two hours)
	@tests/with-bed drift $(BIN)/python -m pytest tests/drift

joins: setup ## Develop: a worker and a control plane join a hardened 3+1 cluster
	@CONTROL_PLANES=3 tests/with-bed tests-joins $(BIN)/python -m pytest -m joins tests/integration

faults: setup ## Develop: break running transactions, nodes and connections on live nodes: the cases with a star in docs/reliability.md
	@WORKERS=2 tests/with-bed faults $(BIN)/python -m pytest -m 'quick and not three' tests/faults

faults-long: setup ## Develop: all of these cases (hours)
	@WORKERS=2 tests/with-bed faults $(BIN)/python -m pytest -m 'not three' tests/faults
	@CONTROL_PLANES=3 tests/with-bed faults-three $(BIN)/python -m pytest -m three tests/faults

reliability: setup ## Maintain: write docs/reliability.md from the results of the fault tests
	@$(BIN)/python -m tests.faults.reliability

upgrades: setup ## Develop: upgrade a hardened cluster with kubeadm to the next minor; nothing that was hardened may be lost
	@tests/with-bed tests-upgrade $(BIN)/python -m pytest -m upgrades tests/integration

bench-requests: setup ## Maintain: what clients lose on 3+1 while it is hardened, and with all manifests edited at once; writes docs/reliability-requests.md
	@$(BIN)/python -m tests.oracles.compare

molecule: setup ## Develop: harden a real 1+1 cluster, verify it with other tools, harden it again
	@$(BIN)/molecule test --scenario-name default

molecule-ha: setup ## Develop: the same with 3 control planes behind a load balancer
	@$(BIN)/molecule test --scenario-name ha

test: ## Use: run everything that CI runs, on real clusters (under 60 minutes on 2 idle cores with a warm cache)
	@tests/all

versions: setup ## Develop: harden a cluster of each supported minor, and one with Python 3.9: VERSIONS="1.31 1.36/bullseye"
	@$(BIN)/python -m tests.versions

test-long: test fuzz integration-long drift joins upgrades faults-long bench-requests versions ## Develop: run everything that CI runs, and all that takes longer (hours)

demo: setup ## Use: start a real two-node cluster on this machine and harden it, with kube-bench before and after
	@tests/demo

docs: setup ## Maintain: write the generated pages docs/controls.md and docs/variables.md
	@$(BIN)/python -m tools.docs

flags: setup ## Maintain: read flags, types and defaults from the binaries of every supported minor
	@tools/flags/generate

.PHONY: help setup collection-link lock lint unit fuzz sanity integration integration-long drift drift-short joins upgrades faults faults-long reliability bench-requests \
  molecule molecule-ha versions test test-long demo docs flags
