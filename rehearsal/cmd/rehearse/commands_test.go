package main

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/engine/toolchain"
	"eco2/rehearsal/internal/needs"
)

const repo = "../../.."

// documented are the documents whose commands people type, and how many each shows at least: with fewer, a test that
// reads them sees nothing.
var documented = []struct {
	path  string
	least int
}{
	{"README.md", 40}, {"docs/operations.md", 200}, {"docs/rehearsal.md", 50}, {"docs/previews.md", 8}, {"docs/pipelines.md", 5},
	{"docs/benchmarks.md", 10}, {"docs/configuration.md", 3}, {"CONTRIBUTING.md", 25}, {"rehearsal/README.md", 1},
}

// accounts say of each command that a document shows what runs it, or why nothing does: by how the command begins, of
// which the longest counts. Tests run what a command does; where the command itself is run, it is by TestMakeTargets,
// TestSettingsAreTakenAsDocumented or a test that calls pulumi so. Whatever is here, TestFlagsAreKnown looks at.
var accounts = []struct {
	begins string
	tests  []string
	notRun string
}{
	// On this machine.
	{"make up", []string{"TestMakeTargets", "TestPlatform"}, ""},
	{"make up LEVEL=simulate LATENCY=1", nil, "waits for minutes; TestMakeTargets runs it without waiting"},
	{"make up PLUGINS=official", []string{"TestOfficialPlugins"}, ""},
	{"make preview", []string{"TestMakeTargets"}, ""},
	{"make preview-diff", []string{"TestPreviewDiff"}, ""},
	{"make destroy", []string{"TestMakeTargets", "TestPlatform"}, ""},
	{"make destroy LEVEL=simulate LATENCY=1", nil, "waits for a minute; TestMakeTargets runs it without waiting"},
	{"make destroy LEVEL=simulate STACK=dev LATENCY=1", nil, "likewise"},
	{"make status", []string{"TestMakeTargets"}, ""},
	{"make help", []string{"TestMakeTargets"}, ""},
	{"make kubectl LEVEL=simulate", []string{"TestMakeTargets"}, ""},
	{"make kubectl", nil, "of real machines: TestPlatform asks the same cluster with the same kubectl, without make"},
	{"make ssh", nil, "of real machines, and replaces its process: TestCluster logs in by the same address and key"},
	{"make -s ssh", nil, "likewise"},
	{"make conformance", nil, "needs a stack that is up, for itself, and longer than all other tests"},
	{"make kube-bench", nil, "needs a stack that is up; TestPlatform runs the same checks on the same machines, without make"},
	{"make bench", nil, "measures for a quarter of an hour; run it before its figures in docs/benchmarks.md change"},
	{"make bench-rehearsal", nil, "needs the whole host for itself; run it before its figure in docs/benchmarks.md changes"},
	{"make vulncheck", nil, "asks vuln.go.dev; TestNewVulnerabilitiesFail runs its script with a stand-in for the scanner"},
	{"make check", nil, ".ci/run runs the same tests by `make test`, and lints all of it by `make lint`, GitHub this"},
	{"make unit", nil, ".ci/run runs the same tests by `make test`, GitHub by `make check`"},
	{"make test", nil, ".ci/run runs it"},
	{"make test-official", nil, "needs plugins that are installed by hand; official.yml runs it on GitHub"},
	{"make test-upgrade", nil, "builds another Kubernetes and needs machines; TestUpgradeTo is what it runs"},
	{"make mutants", nil, "builds the tests a hundred times; TestGuardsAreTested takes one guard away in each run of all tests"},
	{"make golden", nil, "writes into the checkout; TestGolden compares with what it writes"},
	{"make lint", nil, ".ci/run runs it"},
	{"make clean", nil, "removes the state of the checkout that the tests run in"},
	{"curl --cacert", nil, "of `make up`: TestPlatform asks the same load balancer in Go"},
	{"curl -fsSL", nil, "asks the internet"},
	{"docker", nil, "looks at this host's own containers"},

	// Reading and setting.
	{"pulumi login", nil, "needs a bucket in AWS; TestSettingsAreTakenAsDocumented uses a directory"},
	{"pulumi stack init dev --secrets-provider=awskms", nil, "needs a key in AWS"},
	{"pulumi stack init dev --secrets-provider=passphrase", []string{"TestSettingsAreTakenAsDocumented"}, ""},
	{"pulumi stack select", []string{"TestSettingsAreTakenAsDocumented"}, ""},
	{"pulumi stack --show-urns", []string{"TestSettingsAreTakenAsDocumented"}, ""},
	{"pulumi config set", []string{"TestSettingsAreTakenAsDocumented"}, ""},
	{"pulumi config rm", []string{"TestSettingsAreTakenAsDocumented"}, ""},
	{"pulumi stack output", []string{"TestDev", "TestCluster"}, ""},
	{"pulumi stack export", []string{"TestFaults"}, ""},
	{"pulumi stack import", []string{"TestFaults"}, ""},
	{"pulumi stack rename", []string{"TestALivingClusterKeepsItsRegionNetworksAndName"}, ""},
	{"pulumi plugin install", nil, "asks the internet"},

	// Changing a stack.
	{"pulumi preview", []string{"TestDev"}, ""},
	{"pulumi up", []string{"TestDev", "TestPlatform"}, ""},
	{"pulumi up --replace **Instance::", []string{"TestDayTwo", "TestCluster"}, ""},
	{"pulumi up --refresh", []string{"TestTheClusterIsSetBackToASnapshot"}, ""},
	{"pulumi config set eco2:restoreFrom", []string{"TestTheClusterIsSetBackToASnapshot"}, ""},
	{"pulumi up --target", []string{"TestDayTwo"}, ""},
	{"pulumi destroy", []string{"TestDev", "TestPlatform"}, ""},
	{"pulumi destroy --target", nil, "named as no way but for one release"},
	{"pulumi destroy --exclude", nil, "named as no way"},
	{"pulumi refresh", []string{"TestFaults"}, ""},
	{"pulumi refresh --clear-pending-creates", nil, "asks for each; TestFaults settles them in the state first, as the page says"},
	{"pulumi refresh --preview-only", nil, "only shows; TestPlatform expects no changes of a refresh"},
	{"pulumi cancel", nil, "the rehearsal removes the lock of a killed run by itself"},
	{"pulumi state delete", []string{"TestDestroyWithoutAControlPlane"}, ""},
	{"pulumi state unprotect", nil, "takes a mark out of the state; TestProd lifts the protection by an update"},
	{"pulumi state taint", []string{"TestDayTwo"}, ""},

	// In the cluster.
	{"kubectl get", []string{"TestPlatform"}, ""},
	{"kubectl describe", nil, "only shows"},
	{"kubectl top", []string{"TestPlatform"}, ""},
	{"kubectl logs", nil, "only shows"},
	{"kubectl certificate approve", nil, "approve.sh runs it: TestCertificatesAreApprovedOnlyForTheirNode, TestCluster"},
	{"kubectl delete validatingwebhookconfiguration,mutatingwebhookconfiguration", []string{"TestDeadController"}, ""},
	{"kubectl -n redis annotate", nil, "TestNewParameterVersionIsAppliedAtOnce shows that a changed ExternalSecret is applied at once"},
	{"kubectl -n monitoring get secret", nil, "only shows"},
	{"kubectl -n monitoring exec", nil, "Grafana does not run in the rehearsal; the page says that nobody has tried it"},
	{"kubectl -n argocd get applications", []string{"TestPlatform"}, ""},
	{"kubectl -n argocd get application", []string{"TestPlatform"}, ""},
	{"kubectl -n argocd create secret", nil, "needs a private repository"},
	{"kubectl -n argocd label secret", nil, "likewise"},
	{"kubectl -n argocd get secret", nil, "only shows"},
	{"kubectl -n argocd delete secret", []string{"TestPlatform"}, ""},
	{"kubectl -n argocd patch secret", []string{"TestPlatform"}, ""},
	{"kubectl -n argocd rollout", []string{"TestPlatform"}, ""},
	{"argocd", nil, "asks for passwords; TestPlatform logs in by Argo CD's API"},
	{"kubectl -n argocd port-forward", nil, "runs until somebody ends it; TestPlatform asks by the load balancer"},
	{"kubectl -n argocd scale", []string{"TestPlatform"}, ""},
	{"kubectl -n argocd annotate applications", []string{"TestPlatform"}, ""},
	{"kubectl -n argocd patch ingress", []string{"TestDestroyWithADeadController"}, ""},
	{"kubectl -n platform-system delete secret", []string{"TestKilledInstallOrUpgrade"}, ""},
	{"kubectl -n kube-system logs", nil, "only shows"},
	{"kubectl drain", nil, "the script that drains is run, by TestCluster"},
	{"kubectl uncordon", nil, "undoes a drain by hand"},
	{"kubectl delete node", []string{"TestFaults"}, ""},
	{"kubectl label --dry-run=server", nil, "only shows; TestPodsDoNotTakeOverTheirNodes has pods refused"},
	{"helm -n monitoring list", []string{"TestPlatform"}, ""},
	{"helm -n monitoring rollback", []string{"TestPlatform"}, ""},

	// On machines.
	{"on ", []string{"TestCluster"}, ""},
	{"on k8s-redis sudo growpart", nil, "a container's disk has no partition"},
	{"on ssh cat", nil, "TestDayTwo rotates the SSH key in the model of a machine"},
	{"ssh -i eco2.key", nil, "what `on` is"},
	{"ssh -o UserKnownHostsFile=known_hosts", nil, "OpenSSH's own; TestCluster's connections require the same keys"},

	// In AWS, and elsewhere.
	{"aws", nil, "needs AWS"},
	{"gh api", nil, "needs GitHub"},
	{"dig", nil, "asks the world's DNS"},
	{"ssh-keygen", nil, "OpenSSH's own: TestWrongSettings has keys of these kinds"},
	{"openssl rand", nil, "OpenSSL's own"},
	{"sha256sum", nil, "coreutils' own"},
	{"jq", nil, "parts of a pipe: what TestFaults does in Go"},
	{"tr", nil, "likewise"}, {"date", nil, "likewise"}, {"grep", nil, "likewise"}, {"cut", nil, "likewise"}, {"awk", nil, "likewise"}, {"base64", nil, "likewise"}, {"mv", nil, "likewise"},
}

// command is one that a document shows, as a shell reads it.
type command struct {
	where string
	args  []string
}

func (c command) String() string { return strings.Join(c.args, " ") }

// inText are the commands that count where they stand in a sentence.
var inText = regexp.MustCompile("`((?:[A-Z0-9_]+=\\S+ )*(?:aws|dig|docker|gh|helm|kubectl|make|on|pulumi|ssh-keygen) [^`]+)`")

// placeholder stands for what only the reader knows.
var placeholder = regexp.MustCompile(`<([a-z]+)>`)

// commands are all that the documents show, read by bash: in blocks of shell, and in sentences.
func commands(t *testing.T) (all []command) {
	t.Helper()
	for _, document := range documented {
		data, err := os.ReadFile(filepath.Join(repo, document.path))
		require.NoError(t, err)
		before := len(all)
		block, from, shell := "", 0, false
		for i, line := range strings.Split(string(data), "\n") {
			where := fmt.Sprintf("%s:%d", document.path, i+1)
			switch fence, isFence := strings.CutPrefix(strings.TrimSpace(line), "```"); {
			case isFence && from == 0:
				block, from, shell = "", i+1, fence == "sh"
			case isFence:
				if shell {
					all = append(all, read(t, fmt.Sprintf("%s:%d", document.path, from), block)...)
				}
				from = 0
			case from > 0:
				block += line + "\n"
			default:
				for _, span := range inText.FindAllStringSubmatch(line, -1) {
					all = append(all, read(t, where, span[1])...)
				}
			}
		}
		require.GreaterOrEqual(t, len(all), before+document.least, "%s shows more, or this test sees nothing", document.path)
	}
	return all
}

// read has bash read a script without running any command of it: each is recorded with its arguments, and prints a word.
// Each has a file of its own, as the commands of a pipeline run at the same time.
func read(t *testing.T, where, script string) (found []command) {
	t.Helper()
	dir := t.TempDir()
	for _, file := range regexp.MustCompile(`< ([\w.]+)`).FindAllStringSubmatch(script, -1) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, file[1]), nil, 0o600))
	}
	for _, file := range regexp.MustCompile(`(?:^|[\n;] *)\. \./([\w.]+)`).FindAllStringSubmatch(script, -1) {
		text, err := os.ReadFile(filepath.Join(repo, file[1]))
		require.NoError(t, err, "%s reads a file of the project", where)
		require.NoError(t, os.WriteFile(filepath.Join(dir, file[1]), text, 0o600))
	}
	const begin = `set -e
PATH=/nowhere
command_not_found_handle() { printf '%s\0' "$@" >"$RECORD/$EPOCHREALTIME.$BASHPID"; echo ssh; }
`
	bash := exec.CommandContext(t.Context(), "bash", "-c", begin+placeholder.ReplaceAllString(script, "$1"))
	record := t.TempDir()
	bash.Dir, bash.Env = dir, []string{"HOME=" + dir, "RECORD=" + record}
	output, err := bash.CombinedOutput()
	require.NoError(t, err, "%s: bash does not read this: %s", where, output)
	recorded, err := os.ReadDir(record)
	require.NoError(t, err)
	require.NotEmpty(t, recorded, "%s shows no command", where)
	for _, file := range recorded {
		data, err := os.ReadFile(filepath.Join(record, file.Name()))
		require.NoError(t, err)
		found = append(found, command{where, strings.Split(strings.TrimSuffix(string(data), "\x00"), "\x00")})
	}
	return found
}

// The commands of a pipeline write at the same time.
func TestPipelinesAreRead(t *testing.T) {
	long := strings.Repeat("word\n", 4000)
	for range 10 {
		found := read(t, "here", fmt.Sprintf("first '%s' | second '%s' | third '%s'", long, long, long))
		require.Len(t, found, 3)
		for _, c := range found {
			require.Len(t, c.args, 2)
			require.Equal(t, long, c.args[1], c.args[0])
		}
	}
}

// Each command that the documents show is run by a test, or named as one that is not.
func TestCommandsAreAccountedFor(t *testing.T) {
	used := map[string]bool{}
	for _, c := range commands(t) {
		longest := ""
		for _, account := range accounts {
			if strings.HasPrefix(c.String()+" ", account.begins) && len(account.begins) >= len(longest) {
				longest = account.begins
			}
		}
		assert.NotEmpty(t, longest, "%s: %s: nothing in accounts (commands_test.go) says which test runs it, or why none does", c.where, c)
		used[longest] = true
	}
	tests := testFunctions(t)
	for _, account := range accounts {
		assert.True(t, used[account.begins], "no document shows %q any more", account.begins)
		assert.NotEqual(t, len(account.tests) > 0, account.notRun != "", "%q is run by tests, or is not and says why", account.begins)
		for _, test := range account.tests {
			assert.True(t, tests[test], "%q: there is no test %s", account.begins, test)
		}
	}
}

// testFunctions are those of both modules.
func testFunctions(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	function := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	require.NoError(t, filepath.WalkDir(repo, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && strings.HasPrefix(entry.Name(), ".") && path != repo:
			return filepath.SkipDir
		case entry.IsDir() || !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(path) //nolint:gosec // this repository's
		for _, match := range function.FindAllStringSubmatch(string(text), -1) {
			found[match[1]] = true
		}
		return err
	}))
	return found
}

// tools are what the tests of documented commands run.
func tools(t *testing.T) (built toolchain.Toolchain, absolute string) {
	t.Helper()
	needs.Long(t)
	absolute, err := filepath.Abs(repo)
	require.NoError(t, err)
	built, err = toolchain.BuildTools(t.Context(), absolute, filepath.Join(absolute, ".rehearsal"), os.Stderr)
	require.NoError(t, err)
	return built, absolute
}

// Targets and variables are the Makefile's; subcommands and flags are known to the pulumi that the program asks for.
func TestFlagsAreKnown(t *testing.T) {
	built, absolute := tools(t)
	makefile, err := os.ReadFile(filepath.Join(repo, "Makefile"))
	require.NoError(t, err)
	help := map[string]string{}
	checked := map[string]int{}
	known := func(c command, words []string) {
		// The subcommand is what comes before the first flag, less its arguments.
		name := words[:slices.IndexFunc(append(words, "-"), func(word string) bool { return strings.HasPrefix(word, "-") })]
		key := strings.Join(name, " ")
		if help[key] == "" {
			output, err := exec.CommandContext(t.Context(), built.Pulumi, append(slices.Clone(name), "--help")...).Output()
			require.NoError(t, err, "%s: pulumi %s --help", c.where, key)
			help[key] = string(output)
		}
		if strings.Contains(help[key], "\nAvailable Commands:") {
			usage := "\n  pulumi " + key + " [flags]"
			assert.Contains(t, help[key], strings.ReplaceAll(usage, "  [", " ["), "%s: pulumi has no %q", c.where, key)
		}
		for _, word := range words[len(name):] {
			flag, _, _ := strings.Cut(word, "=")
			if strings.HasPrefix(flag, "--") {
				assert.Regexp(t, `(?m)^ .*`+regexp.QuoteMeta(flag)+`( |$)`, help[key], "%s: pulumi %s has no flag %s", c.where, key, flag)
			}
		}
		checked["pulumi"]++
	}
	for _, c := range commands(t) {
		switch c.args[0] {
		case "pulumi":
			known(c, c.args[1:])
		case "make":
			checked["make"]++
			dry := exec.CommandContext(t.Context(), "make", append([]string{"--dry-run", "NODE=k8s-redis"}, c.args[1:]...)...)
			dry.Dir = absolute
			output, err := dry.CombinedOutput()
			assert.NoError(t, err, "%s: %s\n%s", c.where, c, output)
			for _, word := range c.args[1:] {
				variable, value, sets := strings.Cut(word, "=")
				if sets {
					assert.Regexp(t, `\$\((value )?`+variable, string(makefile), "%s: the Makefile does not know %s", c.where, variable)
				}
				if target := c.args[1]; variable == "ARGS" && slices.Contains([]string{"up", "preview", "destroy"}, target) {
					known(c, append([]string{target}, strings.Fields(value)...))
				}
			}
		}
	}
	assert.Greater(t, checked["pulumi"], 50)
	assert.Greater(t, checked["make"], 30)
}

// What the documents do to a stack's settings is done, by the pulumi that the program asks for, to dev's.
func TestSettingsAreTakenAsDocumented(t *testing.T) {
	built, absolute := tools(t)
	dir := t.TempDir()
	for _, file := range []string{"Pulumi.yaml", "Pulumi.dev.yaml"} {
		data, err := os.ReadFile(filepath.Join(absolute, file))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), data, 0o600))
	}
	backend, home := t.TempDir(), t.TempDir()
	run := func(args ...string) (string, error) {
		pulumi := exec.CommandContext(t.Context(), built.Pulumi, args...)
		pulumi.Dir, pulumi.Stdin = dir, strings.NewReader("a secret from standard input\n")
		pulumi.Env = append(os.Environ(), "PULUMI_HOME="+home, "PULUMI_BACKEND_URL=file://"+backend,
			"PULUMI_CONFIG_PASSPHRASE=throw-away", "PULUMI_SKIP_UPDATE_CHECK=true")
		output, err := pulumi.CombinedOutput()
		return string(output), err
	}
	done := map[string]bool{}
	for _, c := range commands(t) {
		text := c.String()
		settings := strings.HasPrefix(text, "pulumi config ") || strings.HasPrefix(text, "pulumi stack init dev --secrets-provider=passphrase") ||
			strings.HasPrefix(text, "pulumi stack select") || strings.HasPrefix(text, "pulumi stack --show-urns")
		if !settings || done[text] {
			continue
		}
		done[text] = true
		output, err := run(c.args[1:]...)
		require.NoError(t, err, "%s: %s\n%s", c.where, text, output)
	}
	require.Greater(t, len(done), 15)
	for key, want := range map[string]string{
		"adminCidrs[0]": "198.51.100.4/32", "nodes.k8s-redis.instanceType": "t3.large", "protect": "false",
		"sshPrivateKey": "a secret from standard input", "redisPassword": "a secret from standard input",
	} {
		output, err := run("config", "get", "--path", "eco2:"+key)
		require.NoError(t, err, output)
		assert.Equal(t, want, strings.TrimSpace(output), key)
	}
}

// The targets, as the documents show them, on models.
func TestMakeTargets(t *testing.T) {
	_, absolute := tools(t)
	state := t.TempDir()
	// What is built for the checkout is not built again.
	require.NoError(t, os.Symlink(filepath.Join(absolute, ".rehearsal", "bin"), filepath.Join(state, "bin")))
	const created, unchanged, deleted = `Resources:\s+\+ \d+ created`, `Resources:\s+\d+ unchanged`, `Resources:\s+- \d+ deleted`
	for _, step := range []struct {
		args []string
		says string
	}{
		{[]string{"help"}, "make preview-diff"},
		{[]string{"up"}, created + `(?s:.*)\nThe critical path of (?s:.*)\nStack local is up after `},
		{[]string{"status"}, `k8s-redis (?s:.*)\nargocdUrl +https://argocd\..*:8443`},
		{[]string{"up"}, unchanged},
		{[]string{"preview"}, unchanged},
		{[]string{"kubectl", "ARGS=get ingresses -A"}, "argocd"},
		{[]string{"up", "ARGS=--replace '**Instance::k8s-redis'"}, "aws:ec2:Instance k8s-redis|Instance::k8s-redis"},
		{[]string{"up", "STACK=dev"}, created},
		{[]string{"preview", "STACK=prod", "FROM=dev"}, `"eco2-dev" => "eco2-prod"`},
		{[]string{"destroy", "STACK=dev"}, deleted},
		{[]string{"destroy"}, deleted},
	} {
		target := exec.CommandContext(t.Context(), "make", append([]string{"--no-print-directory", "STATE=" + state, "LEVEL=simulate"}, step.args...)...)
		target.Dir = absolute
		output, err := target.CombinedOutput()
		end := string(output[max(0, len(output)-4000):])
		require.NoError(t, err, "make %s\n…%s", step.args, end)
		require.True(t, regexp.MustCompile(step.says).Match(output), "make %s does not say %q\n…%s", step.args, step.says, end)
		if changes := step.args[0] == "up" || step.args[0] == "destroy"; changes {
			// What scripts said would be under their resources' names.
			assert.NotRegexp(t, `\n(Outputs:|  command:remote:Command \()`, string(output), "make %s prints more at its end than fits a screen", step.args)
		}
	}
}
