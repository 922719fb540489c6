# SPDX-License-Identifier: Apache-2.0

# The targets for people and CI. "make help" lists them, docs/how-to/development.md describes them.
# They need Go, make and git. Other tools are built from pinned versions, see hack/tools.

SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
.DEFAULT_GOAL := help

# Settings, such as "make fuzz FUZZTIME=10m".
# Slow packages come first.
PACKAGES ?= ./test/... ./...
TEST_TIMEOUT ?= 30m
# The number of packages that are tested at once. They mostly wait, so it is larger than the number
# of processors.
TEST_PROCS ?= $(shell expr 2 \* `getconf _NPROCESSORS_ONLN`)
# SQLite, the store of teamtalk-dev, is built without the race detector. It is translated from C,
# and would take most of the tests' time.
RACE := -race -gcflags=modernc.org/...=-race=false
MIN_COVERAGE ?= 90
FUZZTIME ?= 60s
ARGS ?=
PROGRAM ?= teamtalk-operator
IMAGE ?= $(PROGRAM)
VULNDB ?= https://vuln.go.dev
ARCHS ?=

TOOL := go tool -modfile=$(CURDIR)/hack/tools/go.mod
RELEASE_TOOL := go tool -modfile=$(CURDIR)/hack/tools/release/go.mod
HUGO := go tool -modfile=$(CURDIR)/hack/tools/hugo/go.mod hugo
GOLANGCI_LINT := go tool -modfile=$(CURDIR)/hack/tools/lint/go.mod golangci-lint
# Separate modules keep the tools' dependencies out of the operator's go.mod.
MODULES := . hack/controlplane hack/image hack/tools hack/tools/alertmanager hack/tools/cosign hack/tools/flux hack/tools/helm hack/tools/helm3 hack/tools/hugo hack/tools/krew hack/tools/lint hack/tools/release
# The modules with Go code. The others only pin versions.
GO_MODULES := . hack/tools hack/image
# The flags are those of kube-apiserver's build, so that both share compiled packages.
CONTROL_PLANE := CGO_ENABLED=0 go run -trimpath ./hack/envtest-assets
WIRE := internal/teamtalk/wire

##@ Use

.PHONY: demo
demo: ## Run the operator, a control plane and TeamTalk on this machine and send messages (DEMO_EXIT=1 exits at the end; CLUSTER=current uses your cluster, CLUSTER=kind a new kind cluster)
	@go run ./hack/demo

.PHONY: run
run: ## Run the operator against the current kubeconfig; install config/crd first (ARGS="--help" lists its flags)
	CGO_ENABLED=0 go run -trimpath ./cmd/teamtalk-operator --log-format text $(ARGS)

.PHONY: run-dev
run-dev: ## Run teamtalk-dev, a TeamTalk for development (ARGS="--help" lists its flags)
	CGO_ENABLED=0 go run -trimpath ./cmd/teamtalk-dev $(ARGS)

.PHONY: build
build: ## Build the programs into bin/
	@mkdir -p bin
	@export CGO_ENABLED=0; flags=$$(hack/stamp) || exit; \
	go build -trimpath -ldflags="$$flags" -o bin/ ./cmd/...

.PHONY: image
image: ## Build the operator's image as an OCI archive in bin/image (IMAGE=registry.example.com/x, VERSION, ARCHS="amd64 arm64", PROGRAM=teamtalk-dev)
	@go -C hack/image run . -name $(IMAGE) cmd/$(PROGRAM) $(ARCHS)

.PHONY: sbom
sbom: build ## Write the modules, versions and licences of each program into bin/sbom, as CycloneDX
	@mkdir -p bin/sbom; version=$$(hack/stamp version) || exit; \
	for program in $(notdir $(wildcard cmd/*)); do \
		GOPROXY=off GONOSUMDB='*' $(RELEASE_TOOL) cyclonedx-gomod bin -json -licenses -std -noserial -notimestamp -version "$$version" \
			-output "bin/sbom/$$program.cdx.json" "bin/$$program" 2>bin/sbom.log && \
			go run ./hack/sbom "bin/sbom/$$program.cdx.json" || { cat bin/sbom.log >&2; exit 1; }; \
		echo "sbom: bin/sbom/$$program.cdx.json"; \
	done

.PHONY: release-dry-run
release-dry-run: ## Build, push, sign and check a release on this machine, and write its files to bin/release; docs/how-to/releasing.md (the first run builds cosign: minutes)
	@go -C hack/image run ./registry hack/release --dry-run

##@ Check

.PHONY: test
test: ## Run all tests and check the coverage of internal/teamtalk (the first run builds kube-apiserver and etcd: minutes)
	@hack/requirements test
	@mkdir -p bin; rm -f bin/tests
	@export KUBEBUILDER_ASSETS; KUBEBUILDER_ASSETS=$$($(CONTROL_PLANE)) || exit; \
	race=; if [ "$$(go env CGO_ENABLED)" = 1 ] && command -v "$$(go env CC)" >/dev/null; then race="$(RACE)"; \
	else echo "There is no C compiler: the tests run without the race detector."; fi; \
	$(TOOL) gotestsum --format pkgname --format-hide-empty-pkg --hide-summary=skipped \
		--post-run-command='sh -c "echo \$$((TESTS_TOTAL - TESTS_SKIPPED - TESTS_FAILED)) passed, \$$((TESTS_FAILED + TESTS_ERRORS)) failed, \$$TESTS_SKIPPED skipped >bin/tests"' \
		-- $$race -vet=off -p $(TEST_PROCS) -timeout $(TEST_TIMEOUT) $(PACKAGES); \
	tested=$$?; \
	$(MAKE) --no-print-directory cover; covered=$$?; \
	cat bin/tests && [ $$tested = 0 ] && [ $$covered = 0 ]

.PHONY: cover
cover: ## Check that the tests of internal/teamtalk cover MIN_COVERAGE % of its statements (the profile is bin/cover.out)
	@mkdir -p bin
	@go test -count=1 -coverpkg=./internal/teamtalk/... -coverprofile=bin/cover.out ./internal/teamtalk/... >bin/cover.log 2>&1 || { cat bin/cover.log; exit 1; }
	@hack/verify-coverage internal/teamtalk bin/cover.out $(MIN_COVERAGE)

.PHONY: chaos
chaos: ## Check in the store that each message arrives exactly once under faults; docs/explanation/chaos.md (ARGS="--list"; your own TeamTalk: DB_PROXY, ROUTER, SENDER, USERS, GROUPS, AES_KEY_FILE)
	@export KUBEBUILDER_ASSETS; KUBEBUILDER_ASSETS=$$($(CONTROL_PLANE)) || exit; \
	go run ./test/chaos $(ARGS)

.PHONY: chaos-mutants
chaos-mutants: ## Remove one protection of the operator at a time; its chaos scenario must fail
	@export KUBEBUILDER_ASSETS; KUBEBUILDER_ASSETS=$$($(CONTROL_PLANE)) || exit; \
	go run ./test/chaos --mutants $(ARGS)

.PHONY: bench
bench: ## Measure the operator against bare clients; docs/explanation/benchmarks.md (BENCH=bulk,stream, ROUNDS=5; your own TeamTalk: DB_PROXY, ROUTER, SENDER, USERS, GROUPS, AES_KEY_FILE)
	@mkdir -p bin
	@export KUBEBUILDER_ASSETS; KUBEBUILDER_ASSETS=$$($(CONTROL_PLANE)) || exit; \
	go build -o bin/bench ./test/bench && bin/bench | tee bin/bench.txt

.PHONY: e2e
e2e: ## Install the chart on a real node; kill, upgrade and uninstall the operator under load; docs/explanation/e2e.md (root on Linux, or your own cluster: CLUSTER=current, IMAGE, DEV_IMAGE)
	@hack/requirements e2e
	@mkdir -p bin
	@go build -o bin/e2e ./test/e2e && bin/e2e

.PHONY: fuzz
fuzz: ## Run each fuzz test for FUZZTIME (60s)
	@targets=$$(grep -rHoE --include='*_test.go' '^func Fuzz\w+' $$(go list -f '{{.Dir}}' ./...)) || { echo "no fuzz tests found" >&2; exit 1; }; \
	failed=; \
	while IFS=: read -r file target; do \
		go test -run='^$$' -fuzz="^$${target#func }$$" -fuzztime=$(FUZZTIME) "$$(dirname "$$file")" || failed="$$failed $${target#func }"; \
	done <<<"$$(sort -u <<<"$$targets")"; \
	[ -z "$$failed" ] || { echo "failed:$$failed" >&2; exit 1; }

.PHONY: vulncheck
vulncheck: ## Check the programs for known vulnerabilities; fails if the database cannot be reached (VULNDB=URL of a copy)
	@$(RELEASE_TOOL) govulncheck -db=$(VULNDB) ./cmd/... || { code=$$?; \
		[ $$code = 3 ] || echo "vulncheck: not checked: the database $(VULNDB) is needed, see above" >&2; exit $$code; }

.PHONY: vet
vet: ## Run go vet
	@for module in $(GO_MODULES); do (set -x; go -C $$module vet ./...) || exit; done

.PHONY: lint
lint: ## Run the linters of .golangci.yml (the first run builds golangci-lint: minutes)
	@for module in $(GO_MODULES); do \
		(set -x; cd $$module && $(GOLANGCI_LINT) run --config $(CURDIR)/.golangci.yml) || exit; \
	done

.PHONY: verify
verify: ## Check generated code, formatting, go.mod files, shared versions, licence headers, names and words; run vet and lint
	@MODULES="$(MODULES)" hack/verify

##@ Change

.PHONY: generate
generate: ## Generate deep copies, CRDs, roles, the protobuf code, docs/reference/api.md and the chart's copies
	$(TOOL) controller-gen object:headerFile=hack/boilerplate.go.txt paths=./api/... crd paths=./api/... output:crd:dir=config/crd/bases
	$(TOOL) controller-gen rbac:roleName=teamtalk-operator paths=./controllers/... paths=./internal/app/... output:rbac:dir=config/rbac
	$(TOOL) controller-gen rbac:roleName=teamtalk-gateway,fileName=gateway_role.yaml paths=./internal/gateway/... output:rbac:dir=config/rbac
	$(TOOL) controller-gen rbac:roleName=teamtalk-operator-receiver,fileName=receiver_role.yaml paths=./internal/receiver/... output:rbac:dir=config/rbac
	go -C hack/tools run ./protogen -proto $(CURDIR)/$(WIRE)/proto -out $(CURDIR)/$(WIRE)
	$(TOOL) crd-ref-docs --log-level ERROR --source-path api/v1alpha1 --config hack/api-reference/config.yaml \
		--templates-dir hack/api-reference/templates --renderer markdown --max-depth 20 --output-path docs/reference/api.md
	@sed -i -e 's/  *|/ |/g' -e 's/ *$$//' -e '/^$$/N;/^\n$$/D' docs/reference/api.md
	@$(MAKE) --no-print-directory chart

.PHONY: chart
chart: ## Copy CRDs, roles, alerts and the dashboard to the chart, and write its README and schema from values.yaml
	go run ./hack/chart

.PHONY: docs
docs: ## Build the documentation as a site in bin/site; fails on a link to a page that does not exist (the first run builds hugo: minutes)
	@CGO_ENABLED=0 $(HUGO) --source hack/site --destination $(CURDIR)/bin/site --cleanDestinationDir --noBuildLock --panicOnWarning --quiet
	@echo "docs: bin/site/index.html"

.PHONY: fmt
fmt: ## Format the Go code
	$(GOLANGCI_LINT) fmt

.PHONY: clean
clean: ## Remove bin/, where other targets write their results
	rm -rf bin

.PHONY: help
help: ## Show this help
	@awk 'BEGIN {FS = ":.*## "} \
		/^##@ / {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z0-9-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
