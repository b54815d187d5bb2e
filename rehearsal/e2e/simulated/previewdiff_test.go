package simulated

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/e2e/world"
	"eco2/rehearsal/engine/cost"
	"eco2/rehearsal/engine/previewdiff"
	"eco2/rehearsal/engine/toolchain"
	"eco2/rehearsal/internal/gitcli"
	"eco2/rehearsal/internal/needs"
)

// The repository has one commit with this checkout's program, and changes in the working tree.
func TestPreviewDiff(t *testing.T) {
	needs.Long(t)
	repo := newHistory(t)
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	spy := &secretsSpy{t: t, dir: temporary, seen: map[string]bool{}}
	compare := func(t *testing.T, program toolchain.Toolchain, stacks ...string) previewdiff.Report {
		t.Helper()
		report, err := previewdiff.Run(t.Context(), previewdiff.Options{
			Repo: repo, Base: "HEAD", Stacks: stacks, Progress: spy,
			Tools: func(context.Context) (toolchain.Toolchain, error) { return program, nil },
		})
		require.NoError(t, err)
		left, err := os.ReadDir(temporary)
		require.NoError(t, err)
		assert.Empty(t, left)
		assert.Equal(t, 1, strings.Count(git(t, repo, "worktree", "list"), "\n"))
		return report
	}

	t.Run("the same program changes nothing", func(t *testing.T) {
		report := compare(t, tools, "dev")
		require.Equal(t, previewdiff.Unchanged, report.Outcome(), report.Markdown(previewdiff.CommentLimit))
		before := report.Stacks[0].Before
		assert.InDelta(t, 626.34, before.Parts[cost.Instances].Monthly, 0.001)
		assert.InDelta(t, 17*3.65, before.Parts[cost.Addresses].Monthly, 0.001, "14 nodes and the load balancer in three zones")
		assert.False(t, before.Total().Incomplete)
		assert.Equal(t, before, report.Stacks[0].After)
	})

	table, err := os.ReadFile(filepath.Join(repo, "infra", "table.go"))
	require.NoError(t, err)
	info := regexp.MustCompile(`(?s)\t\{\n\t\tName: "k8s-api-info".*?\n\t\},\n`).FindString(string(table))
	require.NotEmpty(t, info)
	edit(t, filepath.Join(repo, "infra", "table.go"),
		`Name: "k8s-redis", InstanceType: "t3.medium",`, `Name: "k8s-redis", InstanceType: "t3.xlarge",`, info, "")
	edit(t, filepath.Join(repo, "infra", "nodes.go"),
		// Move its machine to another zone, which a change of the table alone does not do to an existing machine.
		"	if slices.Contains(zones, current) {\n", "	if s.Name == \"k8s-redis\" {\n\t\treturn zones[2]\n\t}\n	if slices.Contains(zones, current) {\n")
	edit(t, filepath.Join(repo, "Pulumi.prod.yaml"), "10.1.0.0/16", "10.1.0.0/30")
	changed := tools
	changed.Program = filepath.Join(t.TempDir(), "eco2")
	require.NoError(t, toolchain.Compile(t.Context(), io.Discard, toolchain.Target{
		What: "the changed program", Dir: repo, Output: changed.Program, Packages: []string{"."},
	}))
	report := compare(t, changed, "dev", "prod", "test")
	require.Len(t, report.Stacks, 3)
	dev, prod, test := report.Stacks[0], report.Stacks[1], report.Stacks[2]
	comment := report.Markdown(previewdiff.CommentLimit)

	t.Run("the report shows what changes, and why", func(t *testing.T) {
		assert.Equal(t, previewdiff.Changed, previewdiff.Report{Stacks: []previewdiff.Stack{dev}}.Outcome())
		assert.Contains(t, comment, "- **dev**: 0 to create, 5 to update, 4 to replace, 6 to delete, 181 unchanged, outputs change\n")
		for _, line := range []string{
			"- replaced `aws:ec2:Instance k8s-redis`: `subnetId` changes\n",
			"- replaced `command:remote:Command member-k8s-redis`: because aws:ec2:Instance k8s-redis is replaced\n",
			"- deleted `aws:ec2:Instance k8s-api-info`: no longer in the program\n",
			"- deleted `kubernetes:core/v1:Namespace info`: no longer in the program\n",
		} {
			assert.Contains(t, comment, line)
		}
		assert.Contains(t, dev.Diff, `~ instanceType: "t3.medium" => "t3.xlarge"`)
		assert.Contains(t, comment, `~ instanceType: "t3.medium" => "t3.xlarge"`)
	})

	t.Run("the report shows the costs", func(t *testing.T) {
		difference := func(part cost.Part) float64 { return dev.After.Parts[part].Monthly - dev.Before.Parts[part].Monthly }
		assert.InDelta(t, (0.208-0.052-0.026)*730, difference(cost.Instances), 0.001)
		assert.InDelta(t, -20*0.0912, difference(cost.Disks), 0.001)
		assert.InDelta(t, -0.005*730, difference(cost.Addresses), 0.001)
		assert.Contains(t, comment, "| **dev** | **754.06** | **843.49** | **+89.43** |\n")
	})

	t.Run("the report shows why a stack failed", func(t *testing.T) {
		assert.Equal(t, previewdiff.Failed, report.Outcome())
		assert.Contains(t, prod.Problem, "The working tree could not be previewed: ")
		assert.Contains(t, prod.Problem, "eco2:vpcCidr: ")
		assert.Contains(t, test.Problem, "could not be brought up in the model: there is no stack \"test\"")
		assert.Contains(t, comment, "- **prod**: the preview failed\n")
	})

	t.Run("the report contains no secret", func(t *testing.T) {
		require.Len(t, spy.seen, 4, "each comparison of a stack has its own secrets")
		for _, text := range []string{comment, report.Markdown(previewdiff.SummaryLimit), dev.Diff, prod.Problem, test.Problem} {
			assert.Empty(t, spy.secrets.In(text))
		}
		assert.Contains(t, dev.Diff, "[secret]")
	})
}

// newHistory creates a repository whose only commit has this checkout's program and settings.
func newHistory(t *testing.T) string {
	t.Helper()
	repo := t.TempDir()
	for _, name := range []string{"component", "config", "infra", "cluster", "platform"} {
		require.NoError(t, os.CopyFS(filepath.Join(repo, name), os.DirFS(filepath.Join("../../..", name))))
	}
	for _, name := range []string{"go.mod", "go.sum", "main.go", "Pulumi.yaml", "Pulumi.dev.yaml", "Pulumi.prod.yaml"} {
		data, err := os.ReadFile(filepath.Join("../../..", name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(repo, name), data, 0o600))
	}
	git(t, repo, "init", "--quiet")
	git(t, repo, "add", ".")
	git(t, repo, "-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "--quiet", "--message", "base")
	return repo
}

func git(t *testing.T, repo string, args ...string) string {
	t.Helper()
	output, err := gitcli.Command(t.Context(), repo, args...).CombinedOutput()
	require.NoError(t, err, string(output))
	return string(output)
}

// edit replaces texts in a file, given as pairs of old and new. The file must contain each old text.
func edit(t *testing.T, path string, pairs ...string) {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	for i := 0; i < len(pairs); i += 2 {
		require.Contains(t, string(data), pairs[i])
	}
	require.NoError(t, os.WriteFile(path, []byte(strings.NewReplacer(pairs...).Replace(string(data))), 0o600))
}

// secretsSpy collects the throw-away secrets of a comparison's states. They exist only while it runs, so it reads them
// with each line of progress.
type secretsSpy struct {
	t   *testing.T
	dir string

	mu      sync.Mutex
	secrets world.Secrets
	// seen has the files that were read.
	seen map[string]bool
}

func (s *secretsSpy) Write(data []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	files, err := filepath.Glob(filepath.Join(s.dir, "*", "states", "*", "throwaway.json"))
	assert.NoError(s.t, err)
	for _, file := range files {
		if !s.seen[file] {
			s.seen[file] = true
			assert.NoError(s.t, s.secrets.AddThrowAway(filepath.Dir(file)))
		}
	}
	return len(data), nil
}
