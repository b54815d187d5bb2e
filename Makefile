# All commands for users. On a new machine `make up` and `make test` need nothing else: they build what is
# missing and say so.

# Make and the shell split or rewrite a path that contains white space or one of these characters: below
# "/tmp/x y", `make clean` would delete "/tmp/x". `value` prevents make from expanding a dollar sign.
UNFIT := $$ " ' ` \ \# % : ; & | < > ( ) { } [ ] * ? =
unfit  = $(strip $(filter-out 1,$(words x$1x)) $(foreach c,$(UNFIT),$(findstring $c,$1)))
CACHE := $(or $(value XDG_CACHE_HOME),$(value HOME)/.cache)
ifneq (,$(call unfit,$(CURDIR)))
$(error the path $(CURDIR) has white space or one of $(UNFIT) in it, which make and the shell do not keep; move this project)
endif
ifneq (,$(call unfit,$(CACHE)))
$(error the path of your cache directory, $(CACHE), has white space or one of $(UNFIT) in it, which make and the shell do not keep; set XDG_CACHE_HOME to another)
endif

STACK   ?= local
# How realistic the rehearsal is: rehearse runs machines in Docker and needs root, simulate uses models of them.
LEVEL   ?= rehearse
# Which plugins the engine runs: stand-in for the rehearsal's own, official for Pulumi's, which must be installed
# manually.
PLUGINS ?= stand-in
# If set, `make preview` previews STACK against a copy of this stack's state: FROM=dev.
FROM    ?=
# The commit with which preview-diff compares the working tree, and the stacks for which it does.
BASE    ?=
STACKS  ?= dev prod
# The latency of the models as a factor: 1 is like AWS, 0 does not wait.
LATENCY ?= 0
# Which of upstream's tests `make conformance` runs: conformance, network-policies or quick. FOCUS, a regular
# expression, restricts them to the tests whose names match.
SUITE   ?= conformance
FOCUS   ?=
# The Kubernetes version to which `make test-upgrade` upgrades.
TO      ?=
ARGS    ?=
# If set, the output of all builds is printed, and each line of the engine's.
VERBOSE ?=

STATE    := $(CURDIR)/.rehearsal
REHEARSE := $(STATE)/bin/rehearse
# Records what a rehearsal has changed on this host: RecordFile in rehearsal/hosts/docker/kernel.
HOST     := /run/eco2/host.json
# The package whose tests boot whole clusters.
CLUSTERS := e2e/machines
GOTEST   := $(STATE)/bin/gotest
TOOLS    := $(CACHE)/eco2
# The file names contain the versions in tools/*/go.mod, so that another version is another file.
LINTER     := $(TOOLS)/golangci-lint-v2.12.2
ACTIONLINT := $(TOOLS)/actionlint-v1.7.12
VULNCHECK  := $(TOOLS)/govulncheck-v1.9.0
# The linter caches findings with the path of their checkout. If that file no longer exists, the linter does not see its
# //nolint comments. So each checkout has its own cache. It is not in the checkout, so that a new clone at the same path
# need not analyze pulumi-aws again.
LINT     := GOLANGCI_LINT_CACHE=$(LINTER)-cache$(subst /,-,$(CURDIR)) $(LINTER) run
FLAGS    := --repo $(CURDIR) --state $(STATE) --plugins $(PLUGINS) $(if $(VERBOSE),--verbose)
RUN      := $(REHEARSE) $(FLAGS) --stack $(STACK) --level $(LEVEL) --latency $(LATENCY)
# Installs a Debian package, unless there is a command of its name.
install  = command -v $(1) >/dev/null || { echo "installing $(1)"; apt-get update -qq && apt-get install -qq --yes $(1); }

.PHONY: help up preview preview-diff destroy status kubectl ssh conformance kube-bench bench bench-rehearsal check unit test test-official test-upgrade lint vulncheck golden mutants clean gotest rehearse

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  Variables: STACK=local|dev|prod  LEVEL=rehearse|simulate  PLUGINS=stand-in|official  FROM=<stack>  BASE=<commit>  STACKS='dev prod'  LATENCY=<factor>  SUITE=conformance|network-policies|quick  FOCUS='<expression>'  TO=<version>  UNPROTECT=1  VERBOSE=1  ARGS='<arguments>'"

up: rehearse ## Bring the stack up on this machine
	@$(RUN) up -- $(ARGS)

preview: rehearse ## Show what an update would change
	@$(RUN) preview $(if $(FROM),--from $(FROM)) -- $(ARGS)

preview-diff: export BASE := $(BASE)
preview-diff: export STACKS := $(STACKS)
# The command exits with 2 if something changes, which is not a failure here. Make itself exits with 2 for every
# failure, so the file `outcome` distinguishes a change from a crash.
preview-diff: rehearse ## Show what the working tree changes against BASE, as a comment for a pull request
	@rm -f $(STATE)/preview-diff/outcome
	@$(REHEARSE) $(FLAGS) --level simulate preview-diff --base "$$BASE" --stacks "$$STACKS" || \
		grep -qsx changed $(STATE)/preview-diff/outcome

destroy: rehearse ## Destroy the stack
	@$(RUN) destroy $(if $(UNPROTECT),--unprotect) -- $(ARGS)

status: rehearse ## Show what exists
	@$(RUN) status

kubectl: rehearse ## Run kubectl on the cluster: make kubectl ARGS='get pods -A'
	@$(RUN) kubectl -- $(ARGS)

ssh: rehearse ## Log in to a machine: make ssh NODE=k8s-redis
	@$(RUN) ssh $(or $(NODE),$(error name a node: make ssh NODE=k8s-master)) $(if $(ARGS),-- "$$ARGS")

conformance: export FOCUS := $(value FOCUS)
conformance: rehearse ## Run upstream's own tests of a cluster on the one that is up
	@$(RUN) conformance --suite $(SUITE) --focus "$$FOCUS" $(ARGS)

kube-bench: rehearse ## Check the machines that are up against the CIS Kubernetes Benchmark
	@$(RUN) kube-bench

bench: rehearse ## Measure the engine's work, the critical paths, and how many faults are survived
	@$(RUN) bench
	@echo; echo "A preview of the working tree against its own commit, both stacks:"
	@$(MAKE) --no-print-directory preview-diff BASE=HEAD 2>&1 >/dev/null
	@echo; go test -count=1 -v -run '^TestIncidents$$' . | grep -o 'incidents: .*\|of the .*'
	@echo; cd rehearsal && go test -count=1 -v -run '^TestFaults$$' ./e2e/simulated | grep -o 'faults survived: .*'

bench-rehearsal: rehearse ## Compare an update of real machines with running kubeadm by hand
	@$(RUN) bench-rehearsal

# Of the rehearsal's tests, this runs those that need no root, no Docker and only a few seconds. Results of unchanged
# packages are cached, and the linter checks only what differs from the last commit.
check: gotest $(LINTER) ## Run the quick tests and linters, before each commit
	"$(GOTEST)" ./...
	cd rehearsal && "$(GOTEST)" -short ./...
	$(LINT) --new-from-rev=HEAD ./...
	cd rehearsal && $(LINT) --config ../.golangci.yml --new-from-rev=HEAD ./...
	@! command -v shellcheck >/dev/null || shellcheck cluster/scripts/*.sh

unit: gotest ## Run the program's own tests, which need neither root nor machines
	"$(GOTEST)" ./...

test: rehearse gotest ## Run all tests
	@# Without it, two tests would be skipped, which is a failure here.
	@$(call install,jq)
	@$(RUN) prepare --tests
	"$(GOTEST)" ./...
	@# The engine runs the built program, whose changes do not invalidate cached test results.
	cd rehearsal && "$(GOTEST)" -count=1 -p 2 -timeout 60m $$(go list ./... | grep --invert-match '/$(CLUSTERS)$$')
	@# A whole cluster needs this host for itself.
	cd rehearsal && "$(GOTEST)" -count=1 -timeout 80m ./$(CLUSTERS)

# It fails at once if a plugin is missing.
test-official: rehearse gotest ## Run the whole program on machines with Pulumi's official plugins, which must be installed
	@$(RUN) --plugins official prepare
	cd rehearsal && "$(GOTEST)" -count=1 -timeout 60m -run '^TestOfficialPlugins$$' ./e2e/machines

test-upgrade: export ECO2_REHEARSAL_UPGRADE_TO = $(or $(value TO),$(error name a Kubernetes version: make test-upgrade TO=1.37.2))
test-upgrade: rehearse gotest ## Upgrade a cluster on machines to any Kubernetes version: make test-upgrade TO=1.37.2
	@$(RUN) prepare --upgrade-to "$$ECO2_REHEARSAL_UPGRADE_TO"
	cd rehearsal && "$(GOTEST)" -count=1 -timeout 60m -run '^TestUpgradeTo$$' ./e2e/machines

golden: ## Rewrite the golden files; review the diff
	go test -run Golden -update .

mutants: ## Take each guard in docs/incidents.yaml away, one at a time, and see its test fail
	go test -count=1 -timeout 2h -run '^TestGuardsAreTested$$' . -mutants .

lint: $(LINTER) $(ACTIONLINT) ## Check the style of Go, of shell scripts and of workflows
	go vet ./...
	$(LINT) ./...
	cd rehearsal && go vet ./... && $(LINT) --config ../.golangci.yml ./...
	@$(call install,shellcheck)
	shellcheck cluster/scripts/*.sh rehearsal/hosts/docker/image/boot rehearsal/hosts/docker/image/first-boot rehearsal/hosts/docker/image/kubeadm tools/govulncheck/check.sh
	@# It checks the workflows' scripts with shellcheck, and skips that without a message if shellcheck is not installed.
	$(ACTIONLINT) .github/workflows/*.yml

# It scans the built programs and not the sources, because it then reports only functions that were linked, and need not
# load the sources of all dependencies, such as pulumi-aws, into memory.
vulncheck: $(VULNCHECK) ## Look for known vulnerabilities in the programs of both modules; asks vuln.go.dev
	go build -o $(STATE)/vulncheck/ .
	cd rehearsal && go build -o $(STATE)/vulncheck/ ./cmd/...
	bash tools/govulncheck/check.sh $(VULNCHECK) tools/govulncheck/accepted.txt $(STATE)/vulncheck/*

$(LINTER):
	@echo "building golangci-lint; with empty caches about 3 minutes, once"
	cd tools/golangci-lint && go build -o $@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

$(ACTIONLINT):
	cd tools/actionlint && go build -o $@ github.com/rhysd/actionlint/cmd/actionlint

$(VULNCHECK):
	cd tools/govulncheck && go build -o $@ golang.org/x/vuln/cmd/govulncheck

# Without $(STATE) the command is built again if this host has settings to put back.
clean: ## Remove the rehearsal's machines, models and built tools, and put this host's settings back
	@if [ ! -x $(REHEARSE) ] && [ -e "$(HOST)" ]; then $(MAKE) --no-print-directory rehearse; fi
	@if [ -x $(REHEARSE) ]; then $(RUN) clean; fi
	rm -rf $(STATE)

# Builds a command of the rehearsal, $1, as the file $2; $3 is how long that takes on a new machine. There Go prints a
# line for each of hundreds of modules, which is shown if the build fails or VERBOSE is set. Otherwise a terminal shows
# the seconds that have passed, and anything else one line before the first build. The counting ends with the shell,
# even if that is killed.
ifdef VERBOSE
build = cd rehearsal && go build -v -o "$2" ./cmd/$1
else
define build
cd rehearsal && what="building the command $1 (the first time $3)"; count=; \
	if [ -t 2 ]; then \
		{ s=0; while sleep 1 && kill -0 $$$$ 2>/dev/null; do s=$$((s + 1)); printf '\r%s: %ss' "$$what" $$s; done; } >&2 & count=$$!; \
	elif [ ! -e "$2" ]; then echo "$$what" >&2; fi; \
	output=$$(go build -o "$2" ./cmd/$1 2>&1); status=$$?; \
	[ -z "$$count" ] || { { kill $$count; wait $$count; } 2>/dev/null; printf '\r\033[K' >&2; }; \
	[ $$status = 0 ] || printf '%s\n' "$$output" >&2; exit $$status
endef
endif

# This tool runs go test, and fails if a test was skipped that should have run.
gotest:
	@$(call build,gotest,$(GOTEST),half a minute)

rehearse:
	@$(call build,rehearse,$(REHEARSE),4 minutes)
