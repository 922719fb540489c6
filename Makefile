# What people and CI do with this project; "make help" lists it, docs/development.md says more.
# Needs Go, make and git. Everything else is built from pinned versions: hack/tools.

SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
.DEFAULT_GOAL := help

# Settings, such as "make fuzz FUZZTIME=10m".
PACKAGES ?= ./...
TEST_TIMEOUT ?= 30m
MIN_COVERAGE ?= 90
FUZZTIME ?= 60s
ARGS ?=
PROGRAM ?= teamtalk-operator
IMAGE ?= $(PROGRAM)
VULNDB ?= https://vuln.go.dev
ARCHS ?= $(shell go env GOARCH)

TOOL := go tool -modfile=$(CURDIR)/hack/tools/go.mod
RELEASE_TOOL := go tool -modfile=$(CURDIR)/hack/tools/release/go.mod
GOLANGCI_LINT := go tool -modfile=$(CURDIR)/hack/tools/lint/go.mod golangci-lint
# The modules of this repository; those in hack keep what they need out of the operator's go.mod.
MODULES := . hack/controlplane hack/tools hack/tools/helm hack/tools/lint hack/tools/release
WIRE := internal/teamtalk/wire

# The race detector needs cgo, and that a C compiler. Go turns cgo off where it finds none.
race = $(shell [ "$$(go env CGO_ENABLED)" = 1 ] && command -v $$(go env CC) >/dev/null && echo -race)

##@ Use

.PHONY: demo
demo: ## Show the operator at work: a cluster, TeamTalk and messages on this machine (DEMO_EXIT=1 ends by itself; CLUSTER: see the demo's own words)
	@echo "demo: compiling the demo's first part"
	@go run ./hack/demo

.PHONY: run
run: ## Run the operator against the current kubeconfig; the cluster must have the CRDs of config/crd (ARGS="--help" for its flags)
	go run ./cmd/teamtalk-operator --log-format text $(ARGS)

.PHONY: run-dev
run-dev: ## Run teamtalk-dev, a TeamTalk for development (ARGS="--help" for its flags)
	go run ./cmd/teamtalk-dev $(ARGS)

.PHONY: build
build: ## Build the programs into bin/
	@mkdir -p bin
	@export CGO_ENABLED=0; flags=$$(hack/stamp) || exit; \
	go build -trimpath -ldflags="$$flags" -o bin/ ./cmd/...

.PHONY: image
image: ## Build the operator's image as an OCI archive in bin/image (IMAGE=registry.example.com/x, VERSION, ARCHS="amd64 arm64", PROGRAM=teamtalk-dev; IMAGE_TOOL: docker, buildah, podman or umoci)
	hack/image/build $(PROGRAM) $(IMAGE) $(ARCHS)

.PHONY: sbom
sbom: build ## Write into bin/sbom, as CycloneDX, which modules in which versions and under which licences are in each program
	@mkdir -p bin/sbom; version=$$(hack/stamp version) || exit; \
	for program in $(notdir $(wildcard cmd/*)); do \
		GOPROXY=off $(RELEASE_TOOL) cyclonedx-gomod bin -json -licenses -std -noserial -notimestamp -version "$$version" \
			-output "bin/sbom/$$program.cdx.json" "bin/$$program" 2>bin/sbom.log && \
			go run ./hack/sbom "bin/sbom/$$program.cdx.json" || { cat bin/sbom.log >&2; exit 1; }; \
		echo "sbom: bin/sbom/$$program.cdx.json"; \
	done

##@ Check

.PHONY: test
test: ## Run all tests and check the coverage of internal/teamtalk (the first run builds kube-apiserver and etcd: minutes)
	@mkdir -p bin; rm -f bin/tests
	@echo "test: compiling what finds the control plane (minutes, the first time)"
	@export KUBEBUILDER_ASSETS; KUBEBUILDER_ASSETS=$$(go run ./hack/envtest-assets) || exit; \
	race="$(race)"; \
	[ -n "$$race" ] || echo "No C compiler with cgo here: the tests run without the race detector."; \
	$(TOOL) gotestsum --format pkgname --format-hide-empty-pkg --hide-summary=skipped \
		--post-run-command='sh -c "echo \$$((TESTS_TOTAL - TESTS_SKIPPED - TESTS_FAILED)) passed, \$$((TESTS_FAILED + TESTS_ERRORS)) failed, \$$TESTS_SKIPPED skipped >bin/tests"' \
		-- $$race -timeout $(TEST_TIMEOUT) $(PACKAGES); \
	tested=$$?; \
	$(MAKE) --no-print-directory cover; covered=$$?; \
	cat bin/tests && [ $$tested = 0 ] && [ $$covered = 0 ]

.PHONY: cover
cover: ## Check that the tests of internal/teamtalk run MIN_COVERAGE % of its statements; bin/cover.out holds the profile
	@mkdir -p bin
	@go test -count=1 -coverpkg=./internal/teamtalk/... -coverprofile=bin/cover.out ./internal/teamtalk/... >bin/cover.log 2>&1 || { cat bin/cover.log; exit 1; }
	@hack/verify-coverage internal/teamtalk bin/cover.out $(MIN_COVERAGE)

.PHONY: chaos
chaos: ## Show by counting that every message arrives once, whatever goes wrong (ARGS="--list"; against your own TeamTalk: DB_PROXY, ROUTER, SENDER, USERS, GROUPS, AES_KEY_FILE, see docs/chaos.md)
	@export KUBEBUILDER_ASSETS; KUBEBUILDER_ASSETS=$$(go run ./hack/envtest-assets) || exit; \
	go run ./test/chaos $(ARGS)

.PHONY: chaos-mutants
chaos-mutants: ## Remove one protection of the operator after another: the chaos scenario for it must fail
	@export KUBEBUILDER_ASSETS; KUBEBUILDER_ASSETS=$$(go run ./hack/envtest-assets) || exit; \
	go run ./test/chaos --mutants $(ARGS)

.PHONY: bench
bench: ## Measure the operator's speed, ratios against bare clients for the most part; docs/benchmarks.md (BENCH=bulk,stream to choose, ROUNDS=5; DB_PROXY, ROUTER, SENDER, USERS, GROUPS: a TeamTalk of your own)
	@mkdir -p bin
	@export KUBEBUILDER_ASSETS; KUBEBUILDER_ASSETS=$$(go run ./hack/envtest-assets) || exit; \
	go build -o bin/bench ./test/bench && bin/bench | tee bin/bench.txt

.PHONY: e2e
e2e: ## Install the chart on a real node and kill, upgrade and uninstall it under load; docs/e2e.md (as root on Linux; CLUSTER=current with IMAGE and DEV_IMAGE for a cluster of your own)
	@mkdir -p bin
	@go build -o bin/e2e ./test/e2e && bin/e2e

.PHONY: fuzz
fuzz: ## Run each fuzz test for FUZZTIME
	@targets=$$(grep -rHoE --include='*_test.go' '^func Fuzz\w+' $$(go list -f '{{.Dir}}' ./...)) || { echo "no fuzz tests found" >&2; exit 1; }; \
	failed=; \
	while IFS=: read -r file target; do \
		go test -run='^$$' -fuzz="^$${target#func }$$" -fuzztime=$(FUZZTIME) "$$(dirname "$$file")" || failed="$$failed $${target#func }"; \
	done <<<"$$(sort -u <<<"$$targets")"; \
	[ -z "$$failed" ] || { echo "failed:$$failed" >&2; exit 1; }

.PHONY: vulncheck
vulncheck: ## Check the programs for known vulnerabilities; fails where the database cannot be reached (VULNDB=URL of a copy)
	@$(RELEASE_TOOL) govulncheck -db=$(VULNDB) ./cmd/... || { code=$$?; \
		[ $$code = 3 ] || echo "vulncheck: not checked, see above; nothing is known of vulnerabilities without the database, $(VULNDB)" >&2; exit $$code; }

.PHONY: vet
vet: ## Run go vet
	go vet ./...
	go -C hack/tools vet ./...

.PHONY: lint
lint: ## Run the linters of .golangci.yml, the direction of imports among them (the first run builds golangci-lint: minutes)
	$(GOLANGCI_LINT) run

.PHONY: verify
verify: ## Check what make generate and make fmt would change, go.mod files, licence headers, words, vet and lint; fails with the difference
	@MODULES="$(MODULES)" hack/verify

##@ Change

.PHONY: generate
generate: ## Generate deep copies, CRDs, roles, the protobuf code and what the chart takes from these
	$(TOOL) controller-gen object:headerFile=hack/boilerplate.go.txt paths=./api/... crd paths=./api/... output:crd:dir=config/crd/bases
	$(TOOL) controller-gen rbac:roleName=teamtalk-operator paths=./controllers/... paths=./internal/app/... output:rbac:dir=config/rbac
	$(TOOL) controller-gen rbac:roleName=teamtalk-gateway,fileName=gateway_role.yaml paths=./internal/gateway/... output:rbac:dir=config/rbac
	$(TOOL) controller-gen rbac:roleName=teamtalk-operator-receiver,fileName=receiver_role.yaml paths=./internal/receiver/... output:rbac:dir=config/rbac
	go -C hack/tools run ./protogen -proto $(CURDIR)/$(WIRE)/proto -out $(CURDIR)/$(WIRE)
	@$(MAKE) --no-print-directory chart

.PHONY: chart
chart: ## Write what the chart takes from config/, and its README from values.yaml
	go run ./hack/chart

.PHONY: fmt
fmt: ## Format the Go code
	$(GOLANGCI_LINT) fmt

.PHONY: clean
clean: ## Remove bin/, where everything that the targets write into the tree is
	rm -rf bin

.PHONY: help
help: ## Show this help
	@awk 'BEGIN {FS = ":.*## "} \
		/^##@ / {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z0-9-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
