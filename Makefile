# Every target prepares what it needs and is quick when it is there already.
# PYTHON chooses the interpreter (3.11 or newer); it is used to make .venv and for nothing else.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.ready
SOURCES := packages/common packages/ccm packages/manager e2e
# What the scenarios need: kind needs Docker, so that is asked first.
E2E_NEEDS := $(if $(filter kind,$(PROVIDER)),docker images kind) $(if $(filter existing,$(PROVIDER)),control-plane,setup)
METADATA := $(addsuffix /pyproject.toml,$(SOURCES)) constraints.txt hack/requirements-dev.txt hack/venv.sh

.DEFAULT_GOAL := help
.PHONY: help setup venv envoy control-plane docker kind system demo test e2e bench lint format types imports golden verify wheels wheels-check base-image images sysctls clean

help: ## show what can be made
	@awk -F ':.*## ' '/^[a-z][a-z0-9-]*:.*## /{printf "  \033[1m%-14s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): $(METADATA)
	@PYTHON="$(PYTHON)" sh hack/venv.sh $(VENV)

venv: $(STAMP) ## the Python environment in .venv, as constraints.txt says

envoy: venv ## the Envoy binary in .tools/envoy
	@$(BIN)/python hack/toolchain.py envoy

control-plane: venv ## etcd, Kubernetes and kubectl in the cache (about 6 minutes the first time)
	@$(BIN)/python hack/toolchain.py control-plane

system: venv ## ip and nft, which the testbed needs on the machine (SUDO=sudo where you are not root)
	@SUDO="$(SUDO)" $(BIN)/python hack/toolchain.py system

docker: ## whether Docker answers
	@why=$$(docker version 2>&1 >/dev/null) || { echo "PROVIDER=kind needs Docker, and it does not answer ($$why); make e2e by itself needs none" >&2; exit 2; }

kind: venv ## the program kind in .tools/kind, built by Go
	@$(BIN)/python hack/toolchain.py kind

setup: venv system envoy control-plane ## environment, Envoy, control plane, ip and nft

sysctls: ## what the testbed and kind need of the kernel: inotify, namespaces (SUDO=sudo where you are not root)
	@SUDO="$(SUDO)" sh hack/sysctls.sh

demo: setup ## one management cluster, two tenants, an Ingress and a LoadBalancer (KEEP=1 leaves it running)
	@$(BIN)/python -m kubelb_e2e.demo $(if $(KEEP),--keep)

test: venv envoy control-plane ## unit, golden, property, feature, real Envoy, real API server
	@$(BIN)/pytest -q -n 2 $(PYTEST_ARGS)

e2e: $(E2E_NEEDS) ## the scenarios on the local testbed (FAST=1: without the long ones; PROVIDER=kind, with KUBERNETES=1.35 or KIND_IMAGE=...; PROVIDER=existing)
	@$(BIN)/pytest -q e2e/tests $(if $(FAST),-m "not long") $(addprefix --provider ,$(PROVIDER)) $(addprefix --kubernetes ,$(KUBERNETES)) $(addprefix --kind-image ,$(KIND_IMAGE)) $(PYTEST_ARGS)

bench: setup ## print the measurements of the local testbed; never fails by time
	@$(BIN)/python e2e/bench/bench.py $(BENCH_ARGS)

lint: venv ## ruff's rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: venv ## mypy --strict
	@$(BIN)/mypy packages/common/src packages/ccm/src packages/manager/src e2e/src

imports: venv ## the layers and doors of docs/architecture.md
	@$(BIN)/lint-imports

format: venv ## rewrite files as ruff formats them
	@$(BIN)/ruff check --fix-only -q .
	@$(BIN)/ruff format .

golden: venv envoy ## rewrite generated CRDs and golden files
	@$(BIN)/python hack/gen_crds.py
	@$(BIN)/pytest -q -k golden --update-golden

verify: golden ## generated files are those in git
	@git diff --exit-code --stat -- packages || { echo "generated files differ: look at 'git diff' and commit them" >&2; exit 1; }

wheels: venv ## the three wheels in dist/, and what they depend on in .tools/wheels
	@$(BIN)/python -m kubelb_e2e.images.wheels && ls dist

wheels-check: venv ## each wheel installed alone into an empty environment, and run
	@$(BIN)/pytest -q -m wheels packages/common/tests/house $(PYTEST_ARGS)

base-image: ## an image to build ours from, of Debian packages, without a registry (SUDO=sudo where you are not root)
	@SUDO="$(SUDO)" sh hack/images/base.sh

images: venv envoy ## the container images of e2e/images.yaml, and their sizes (BASE=...: what to build them from)
	@$(BIN)/python -m kubelb_e2e.images $(if $(BASE),--base $(BASE)) $(IMAGES)

clean: ## remove the environment, tools and everything built (the cache of binaries stays)
	@rm -rf $(VENV) .tools dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis artifacts
