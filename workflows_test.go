package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

type workflow struct {
	On          yaml.Node
	Permissions map[string]string
	Jobs        map[string]yaml.Node
}

type job struct {
	If, Environment string
	Permissions     map[string]string
	Steps           []jobStep
}

type jobStep struct {
	Name, Uses, Run string
	With            map[string]string
}

// readWorkflows returns the workflows by file name, parsed and as text.
func readWorkflows(t *testing.T) (map[string]workflow, map[string]string) {
	t.Helper()
	paths, err := filepath.Glob(".github/workflows/*.yml")
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	parsed, texts := map[string]workflow{}, map[string]string{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		var w workflow
		require.NoError(t, yaml.Unmarshal(text, &w), path)
		parsed[filepath.Base(path)], texts[filepath.Base(path)] = w, string(text)
	}
	return parsed, texts
}

// textOf returns a part of a workflow as text, without comments and with aliases resolved.
func textOf(t *testing.T, node yaml.Node) string {
	t.Helper()
	var value any
	require.NoError(t, node.Decode(&value))
	text, err := yaml.Marshal(value)
	require.NoError(t, err)
	return string(text)
}

// step is a step of the workflow in this file.
type step struct {
	file, Uses string
	With       map[string]string
}

// stepsOf returns all steps that use an action.
func stepsOf(t *testing.T, workflows map[string]workflow) (steps []step) {
	t.Helper()
	for name, w := range workflows {
		for id, node := range w.Jobs {
			var j job
			require.NoError(t, node.Decode(&j), "%s: %s", name, id)
			for _, s := range j.Steps {
				if s.Uses != "" {
					steps = append(steps, step{name, s.Uses, s.With})
				}
			}
		}
	}
	require.NotEmpty(t, steps)
	return steps
}

// Actions must be pinned to a commit: a tag can be moved to other code after the review, a commit cannot.
func TestWorkflowsPinActions(t *testing.T) {
	workflows, texts := readWorkflows(t)
	uses := regexp.MustCompile(`(?m)^\s*(?:- )?uses: (.*)$`)
	pinned := regexp.MustCompile(`^[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)
	seen := map[string]bool{}
	for name, text := range texts {
		for _, match := range uses.FindAllStringSubmatch(text, -1) {
			assert.Regexp(t, pinned, match[1], name)
			action, _, _ := strings.Cut(match[1], " ")
			seen[name+" "+action] = true
		}
	}
	for _, s := range stepsOf(t, workflows) {
		assert.True(t, seen[s.file+" "+s.Uses], "%s: this test did not see %s", s.file, s.Uses)
	}
}

func TestWorkflowsRunThePinnedPulumi(t *testing.T) {
	workflows, _ := readWorkflows(t)
	module, err := os.ReadFile("go.mod")
	require.NoError(t, err)
	version := regexp.MustCompile(`pulumi/sdk/v3 v(\S+)`).FindSubmatch(module)
	require.NotNil(t, version)
	var installs []string
	for _, s := range stepsOf(t, workflows) {
		if strings.HasPrefix(s.Uses, "pulumi/actions@") {
			installs = append(installs, s.file)
			assert.Equal(t, string(version[1]), s.With["pulumi-version"], s.file)
		}
	}
	assert.ElementsMatch(t, []string{"deploy.yml", "deploy.yml", "drift.yml", "official.yml", "preview.yml"}, installs)
}

// Pulumi refuses to run with a version that is older than Pulumi.yaml requires, for the reason given there. The README
// must name the same version.
func TestRequiredPulumiVersionIsDocumented(t *testing.T) {
	var project struct {
		RequiredPulumiVersion string `yaml:"requiredPulumiVersion"`
	}
	readYAML(t, "Pulumi.yaml", &project)
	version := regexp.MustCompile(`^>=(3\.\d+)\.0$`).FindStringSubmatch(project.RequiredPulumiVersion)
	require.NotNil(t, version, project.RequiredPulumiVersion)
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	documented := regexp.MustCompile(`(3\.\d+) or newer`).FindAllStringSubmatch(string(readme), -1)
	require.NotEmpty(t, documented)
	for _, d := range documented {
		assert.Equal(t, version[1], d[1], d[0])
	}
}

// docs/rehearsal.md and a workflow must install the plugin versions that the program's SDKs require: the engine finds no
// other.
func TestInstalledPluginsMatchTheSDKs(t *testing.T) {
	module, err := os.ReadFile("go.mod")
	require.NoError(t, err)
	var want []string
	for _, sdk := range regexp.MustCompile(`pulumi-(command|kubernetes)/sdk\S* v(\S+)`).FindAllStringSubmatch(string(module), -1) {
		want = append(want, "pulumi plugin install resource "+sdk[1]+" "+sdk[2])
	}
	require.Len(t, want, 2)
	for _, file := range []string{"docs/rehearsal.md", ".github/workflows/official.yml"} {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		assert.Equal(t, want, regexp.MustCompile(`pulumi plugin install .*`).FindAllString(string(text), -1), file)
	}
}

// Workflows must have minimal permissions and must not run untrusted code with more.
func TestWorkflowPermissionsAreMinimal(t *testing.T) {
	workflows, _ := readWorkflows(t)
	checked := map[string]int{}
	for name, w := range workflows {
		on := textOf(t, w.On)
		assert.NotContains(t, on, "pull_request_target", "%s: it runs with this repository's permissions", name)
		assert.NotNil(t, w.Permissions, "%s: without it every job has the repository's default permissions", name)
		assert.Empty(t, w.Permissions, "%s: each job must set its own permissions", name)

		for id, node := range w.Jobs {
			var j job
			require.NoError(t, node.Decode(&j), "%s: %s", name, id)
			fetches := false
			for _, step := range j.Steps {
				assert.NotContains(t, step.Run, "${{", "%s: %s: a script must get untrusted text only from its environment", name, id)
				if strings.HasPrefix(step.Uses, "actions/checkout@") {
					fetches = true
					assert.Equal(t, "false", step.With["persist-credentials"], "%s: %s", name, id)
				}
			}
			switch {
			case strings.Contains(on, "workflow_run"):
				checked["with permissions"]++
				assert.False(t, fetches, "%s: %s: it has permissions and may run for anybody's pull request", name, id)
			case strings.Contains(on, "pull_request"):
				checked["of pull requests"]++
				assertPullRequestJob(t, name+": "+id, j, textOf(t, node))
			}
		}
	}
	assert.Equal(t, map[string]int{"with permissions": 1, "of pull requests": 4}, checked, "the number of jobs that this test checks")
}

// assertPullRequestJob checks that a job that runs a pull request's code has no secrets and no permission to write,
// unless the code is from this repository.
func assertPullRequestJob(t *testing.T, name string, j job, text string) {
	t.Helper()
	own := strings.HasPrefix(j.If, "github.event.pull_request.head.repo.full_name == github.repository &&")
	for scope, access := range j.Permissions {
		if scope == "id-token" && own {
			continue
		}
		assert.Equal(t, "read", access, "%s: %s", name, scope)
	}
	if !own {
		assert.NotContains(t, text, "secrets.", name)
	}
}

// A job with credentials must run in an environment of its stack alone: that has the stack's role and passphrase, and
// decides which branches get them and who must approve it. The trust policies in the documents must permit these
// environments and nothing else: the subject of a pull request's token is the same whatever the pull request changes.
func TestCredentialsAreInTheStacksEnvironment(t *testing.T) {
	workflows, _ := readWorkflows(t)
	stackOf := regexp.MustCompile(`(?m)^ *STACK: (.+)$`)
	environments := map[string]bool{}
	for name, w := range workflows {
		for id, node := range w.Jobs {
			var j job
			require.NoError(t, node.Decode(&j), "%s: %s", name, id)
			text := textOf(t, node)
			if j.Permissions["id-token"] != "write" && !strings.Contains(text, "secrets.") {
				continue
			}
			of := stackOf.FindStringSubmatch(text)
			require.NotNil(t, of, "%s: %s: no STACK says whose credentials these are", name, id)
			require.True(t, strings.HasSuffix("-"+j.Environment, "-"+of[1]),
				"%s: %s: its environment is %q, and its stack %s", name, id, j.Environment, of[1])
			environments["environment:"+strings.TrimSuffix(j.Environment, of[1])+"dev"] = true
		}
	}
	assert.Equal(t, map[string]bool{"environment:dev": true, "environment:preview-dev": true, "environment:drift-dev": true}, environments)

	subjects := map[string]bool{} // of dev, which the documents show
	subject := regexp.MustCompile(`"repo:ORG/REPO:([^"]*)"`)
	for _, document := range documents(t) {
		text, err := os.ReadFile(document)
		require.NoError(t, err)
		assert.NotContains(t, string(text), ":pull_request", document)
		for _, match := range subject.FindAllStringSubmatch(string(text), -1) {
			subjects[match[1]] = true
		}
	}
	assert.Equal(t, environments, subjects, "what the trust policies permit")
}

// documents returns the paths of all documents.
func documents(t *testing.T) (paths []string) {
	t.Helper()
	for _, pattern := range []string{"*.md", "docs/*.md", "rehearsal/*.md"} {
		found, err := filepath.Glob(pattern)
		require.NoError(t, err)
		paths = append(paths, found...)
	}
	require.Greater(t, len(paths), 8)
	return paths
}

// A pull request's code writes the preview's comment. The workflow that posts it must say so in the first line, and
// must leave no mention, link, image, tag or reference in it, also inside of code, whose end the text could fake.
func TestCommentsAreMarkedAndDefused(t *testing.T) {
	if _, err := exec.LookPath("jq"); err != nil {
		t.Skip("needs jq, which GitHub's runners have")
	}
	workflows, _ := readWorkflows(t)
	node := workflows["preview-comment.yml"].Jobs["comment"]
	var j job
	require.NoError(t, node.Decode(&j))
	i := slices.IndexFunc(j.Steps, func(s jobStep) bool { return s.Name == "Read the comment" })
	require.GreaterOrEqual(t, i, 0)
	const marker = "<!-- eco2-preview -->\n"
	post := func(artifact string) (body string, err error) {
		dir := t.TempDir()
		for name, text := range map[string]string{
			"comment.md": artifact,
			"bin/gh":     "#!/bin/sh\necho '{\"artifacts\": [{\"id\": 7, \"created_at\": \"2026-11-29\", \"size_in_bytes\": 900}]}'\n",
			"bin/unzip":  "#!/bin/sh\ncat comment.md\n",
		} {
			require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755))
		}
		cmd := exec.CommandContext(t.Context(), "bash", "-e", "-o", "pipefail", "-c", j.Steps[i].Run)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"),
			"REPO=eco/eco2", "RUN=1", "HEAD_REPO=fork/eco2", "SHA=0123abc", "GITHUB_OUTPUT="+filepath.Join(dir, "output"))
		output, err := cmd.CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("%w: %s", err, output)
		}
		data, err := os.ReadFile(filepath.Join(dir, "body.json"))
		require.NoError(t, err)
		var posted struct{ Body string }
		require.NoError(t, json.Unmarshal(data, &posted))
		return posted.Body, nil
	}
	const first = "> **The code of this pull request wrote what follows**, `fork/eco2` at `0123abc`, and nobody has checked it. " +
		"Mentions, links and images are disabled.\n\n"

	body, err := post(marker + "### Preview\n\n| dev | **7.00** |\n<details><summary>The diff</summary>\n\n```\n+ a\n```\n\n</details>\n<sub>An estimate</sub>\n")
	require.NoError(t, err)
	assert.Equal(t, marker+first+"### Preview\n\n| dev | **7.00** |\n<details><summary>The diff</summary>\n\n```\n+ a\n```\n\n</details>\n<sub>An estimate</sub>\n", body)

	for _, text := range []string{
		"@eco/owners", "&commat;eco", "![x](//host/x.png)", "[text](/login)", "[text]\n\n[text]: //host", "https://host/x", "HTTP://host",
		"www.host.example", `<img src="x">`, "<a href=x>", "<IMG src=x>", "<!-- hidden", "eco/other#17", "me@example.com", "<details open>",
	} {
		body, err := post(marker + text + "\n")
		require.NoError(t, err)
		assert.True(t, strings.HasPrefix(body, marker+first), body)
		rest := strings.TrimPrefix(body, marker+first)
		assert.Equal(t, text+"\n", strings.ReplaceAll(rest, "\u200b", ""), "the text stays readable")
		assert.NotRegexp(t, `@\w|&\w|\]\(|\]:|://|www\.|<[\w!/]|#\d`, rest, text)
	}

	body, err = post(marker + strings.Repeat("@", 100_000))
	require.NoError(t, err)
	assert.Len(t, []rune(body), 65536, "GitHub refuses more")
	_, err = post("no marker\n")
	require.ErrorContains(t, err, "the artifact is not a comment of this workflow")
}

// Every step that uses the state must load the project's settings: if one writes the state compressed and another
// uncompressed, there are two files.
func TestWorkflowsUseTheProjectsSettings(t *testing.T) {
	workflows, _ := readWorkflows(t)
	calls := regexp.MustCompile(`(?m)^\s*(timeout .* )?pulumi (up|preview|refresh|destroy|stack|config)\b`)
	var runs []string
	for name, w := range workflows {
		for id, node := range w.Jobs {
			var j job
			require.NoError(t, node.Decode(&j), "%s: %s", name, id)
			for _, step := range j.Steps {
				if calls.MatchString(step.Run) {
					runs = append(runs, name)
					assert.True(t, strings.HasPrefix(step.Run, "set -a; . ./pulumi.env; set +a\n") ||
						strings.Contains(step.Run, "\nset -a; . ./pulumi.env; set +a\n"), "%s: %s: %s", name, id, step.Run)
				}
			}
		}
	}
	assert.ElementsMatch(t, []string{"deploy.yml", "deploy.yml", "drift.yml", "preview.yml"}, runs)
}
