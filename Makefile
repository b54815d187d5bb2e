# Everything a person types. `make up` and `make test` are all that a bare machine needs: they build what
# is missing and say so.

# Make and the shell split or rewrite a path that has white space or one of these characters in it: below
# "/tmp/x y", `make clean` would delete "/tmp/x". `value` keeps make from expanding a dollar itself.
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
# How much is real: rehearse has machines in Docker and needs root, simulate has models of them.
LEVEL   ?= rehearse
# Whose plugins the engine runs: stand-in for the rehearsal's, official for Pulumi's own, which are installed by hand.
PLUGINS ?= stand-in
# What FROM=dev is for: preview STACK against a copy of that stack's state.
FROM    ?=
# What preview-diff compares the working tree with, and where: a commit, and stacks.
BASE    ?=
STACKS  ?= dev prod
# How slow the models are: 1 is like AWS, 0 does not wait.
LATENCY ?= 0
# Which of upstream's tests `make conformance` runs: conformance, network-policies or quick; FOCUS, a regular expression,
# takes of these the tests whose names it matches.
SUITE   ?= conformance
FOCUS   ?=
ARGS    ?=

STATE    := $(CURDIR)/.rehearsal
REHEARSE := $(STATE)/bin/rehearse
# The packages whose tests boot machines.
MACHINES := /rehearsal/\(machines\|rehearse\)$$
GOTEST   := $(STATE)/bin/gotest
TOOLS    := $(CACHE)/eco2
# The names hold the versions in tools/*/go.mod: another version is another file.
LINTER     := $(TOOLS)/golangci-lint-v2.12.2
ACTIONLINT := $(TOOLS)/actionlint-v1.7.12
# Findings are cached with the path of the checkout they were made in, and without that file a //nolint
# beside one is not seen: each checkout has a cache of its own.
LINT     := GOLANGCI_LINT_CACHE=$(STATE)/golangci-lint $(LINTER) run
RUN      := $(REHEARSE) --repo $(CURDIR) --state $(STATE) --stack $(STACK) --level $(LEVEL) --plugins $(PLUGINS) --latency $(LATENCY)

.PHONY: help up preview preview-diff destroy status kubectl ssh conformance bench bench-rehearsal check unit test test-official lint golden clean gotest rehearse

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  Variables: STACK=local|dev|prod  LEVEL=rehearse|simulate  PLUGINS=stand-in|official  FROM=<stack>  BASE=<commit>  STACKS='dev prod'  LATENCY=<factor>  SUITE=conformance|network-policies|quick  FOCUS='<expression>'  UNPROTECT=1  ARGS='<arguments>'"

up: rehearse ## Bring the stack up on this machine
	@$(RUN) up -- $(ARGS)

preview: rehearse ## Show what an update would change
	@$(RUN) preview $(if $(FROM),--from $(FROM)) -- $(ARGS)

preview-diff: export BASE := $(BASE)
preview-diff: export STACKS := $(STACKS)
# The command ends with 2 where something changes, which is no failure here; of every failure make says 2
# itself. The file also tells a change from a crash.
preview-diff: rehearse ## Show what the working tree changes against BASE, as a comment for a pull request
	@rm -f $(STATE)/preview-diff/outcome
	@$(REHEARSE) --repo $(CURDIR) --state $(STATE) --level simulate --plugins $(PLUGINS) preview-diff --base "$$BASE" --stacks "$$STACKS" || \
		grep -qsx changed $(STATE)/preview-diff/outcome

destroy: rehearse ## Take the stack away
	@$(RUN) destroy $(if $(UNPROTECT),--unprotect) -- $(ARGS)

status: rehearse ## Show what exists
	@$(RUN) status

kubectl: rehearse ## Run kubectl on the cluster: make kubectl ARGS='get pods -A'
	@$(RUN) kubectl -- $(ARGS)

ssh: rehearse ## Log in to a machine: make ssh NODE=k8s-redis
	@$(RUN) ssh $(or $(NODE),$(error name a node: make ssh NODE=k8s-master)) $(if $(ARGS),-- "$$ARGS")

conformance: export FOCUS := $(value FOCUS)
conformance: rehearse ## Run upstream's own tests of a cluster on the one that is up
	@$(RUN) conformance --suite $(SUITE) --focus "$$FOCUS"

bench: rehearse ## Measure the engine's work, the critical paths, and how many faults end well
	@$(RUN) bench
	@echo; echo "A preview of the working tree against its own commit, both stacks:"
	@$(MAKE) --no-print-directory preview-diff BASE=HEAD 2>&1 >/dev/null
	@echo; go test -count=1 -v -run '^TestIncidents$$' . | grep -o 'incidents: .*\|of the .*'
	@echo; cd rehearsal && go test -count=1 -v -run '^TestFaults$$' ./simulate | grep -o 'faults survived: .*'

bench-rehearsal: rehearse ## Measure an update of real machines against kubeadm by hand
	@$(RUN) bench-rehearsal

# In the rehearsal, what needs no root, no Docker and no more than a few seconds. Results of what has not changed are
# cached, and the linter looks at what differs from the last commit.
check: gotest $(LINTER) ## Run what is quick, before each commit
	"$(GOTEST)" ./...
	cd rehearsal && "$(GOTEST)" -short ./...
	$(LINT) --new-from-rev=HEAD ./...
	cd rehearsal && $(LINT) --config ../.golangci.yml --new-from-rev=HEAD ./...
	@! command -v shellcheck >/dev/null || shellcheck cluster/scripts/*.sh

unit: gotest ## Run the program's own tests, which need neither root nor machines
	"$(GOTEST)" ./...

test: rehearse gotest ## Run all tests
	@$(RUN) prepare --tests
	"$(GOTEST)" ./...
	@# The engine runs the built program, of which a cached result knows nothing.
	cd rehearsal && "$(GOTEST)" -count=1 -p 2 -timeout 60m $$(go list ./... | grep --invert-match '$(MACHINES)')
	@# Tests with machines want the host for themselves.
	cd rehearsal && "$(GOTEST)" -count=1 -p 1 -timeout 60m $$(go list ./... | grep '$(MACHINES)')

# What is missing fails this, first in a few words.
test-official: rehearse gotest ## Run all of the program on machines with Pulumi's own plugins, where they are installed
	@$(RUN) --plugins official prepare
	cd rehearsal && "$(GOTEST)" -count=1 -timeout 60m -run '^TestOfficialPlugins$$' ./rehearse

golden: ## Write the golden lists anew, for you to read the diff
	go test -run Golden -update .

lint: $(LINTER) $(ACTIONLINT) ## Check the style of Go, of shell scripts and of workflows
	go vet ./...
	$(LINT) ./...
	cd rehearsal && go vet ./... && $(LINT) --config ../.golangci.yml ./...
	@command -v shellcheck >/dev/null || { echo "installing shellcheck"; apt-get update -qq && apt-get install -qq --yes shellcheck; }
	shellcheck cluster/scripts/*.sh rehearsal/machines/image/boot rehearsal/machines/image/first-boot rehearsal/machines/image/kubeadm
	@# It gives the workflows' scripts to shellcheck, and says nothing where there is none.
	$(ACTIONLINT) .github/workflows/*.yml

$(LINTER):
	@echo "building golangci-lint; with empty caches about 3 minutes, once"
	cd tools/golangci-lint && go build -o $@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

$(ACTIONLINT):
	cd tools/actionlint && go build -o $@ github.com/rhysd/actionlint/cmd/actionlint

clean: ## Remove what the rehearsal left: machines, models, built tools
	@if [ -x $(REHEARSE) ]; then $(RUN) clean; fi
	rm -rf $(STATE)

# It runs go test, and fails over a test that was skipped where it should have run.
gotest:
	@cd rehearsal && go build -o "$(GOTEST)" ./cmd/gotest

rehearse:
	@cd rehearsal && go build -o $(REHEARSE) ./cmd/rehearse
