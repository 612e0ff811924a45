# SPDX-License-Identifier: GPL-3.0-or-later
# The test bed's targets; included by the Makefile. Everything else of it: python3 -m tests.testbed --help

CONTROL_PLANES ?= 1
WORKERS ?= 1
KUBERNETES ?= 1.36
BED ?= default
NODE_RELEASE ?=

SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
TESTBED := python3 -m tests.testbed

testbed-setup:
	@command -v python3 >/dev/null || { $(SUDO) apt-get -qq update && $(SUDO) apt-get -qq install --yes python3; }
	@$(TESTBED) setup

testbed-up: testbed-setup ## Use: start a real cluster in containers: BED=name CONTROL_PLANES=1|3 WORKERS=n KUBERNETES=1.36 NODE_RELEASE=bullseye
	@$(TESTBED) up --bed $(BED) --control-planes $(CONTROL_PLANES) --workers $(WORKERS) --kubernetes $(KUBERNETES) \
	  --node-release "$(NODE_RELEASE)"

testbed-down: ## Use: remove the test bed BED, without residue
	@$(TESTBED) down --bed $(BED)

testbed-status: ## Use: show what runs in the test bed BED
	@$(TESTBED) status --bed $(BED)

.PHONY: testbed-setup testbed-up testbed-down testbed-status
