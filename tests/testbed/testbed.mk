# SPDX-License-Identifier: GPL-3.0-or-later
# The test bed's targets; included by the Makefile. Everything else of it: python3 -m tests.testbed --help

CONTROL_PLANES ?= 1
WORKERS ?= 1
KUBERNETES ?= 1.36
BED ?= default
NODE_RELEASE ?=

TESTBED := python3 -m tests.testbed

testbed-setup:
	@$(TESTBED) setup

testbed-up: testbed-setup ## real Kubernetes in containers: CONTROL_PLANES=1|3 WORKERS=n KUBERNETES=1.36 BED=name NODE_RELEASE=bullseye
	@$(TESTBED) up --bed $(BED) --control-planes $(CONTROL_PLANES) --workers $(WORKERS) --kubernetes $(KUBERNETES) \
	  --node-release "$(NODE_RELEASE)"

testbed-down: ## remove the bed BED and everything that belongs to it
	@$(TESTBED) down --bed $(BED)

testbed-status: ## what runs in the bed BED
	@$(TESTBED) status --bed $(BED)

.PHONY: testbed-setup testbed-up testbed-down testbed-status
