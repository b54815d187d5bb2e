package previewdiff

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/engine/cost"
)

func urn(kind tokens.Type, name string) resource.URN {
	return resource.NewURN("dev", "eco2", "", kind, name)
}

const (
	instance tokens.Type = "aws:ec2/instance:Instance"
	command  tokens.Type = "command:remote:Command"
)

// report returns a report about one stack that has changes of every kind.
func report() Report {
	return Report{
		Base: "origin/main", Commit: "0123456789abcdef0123456789abcdef01234567",
		Prices: cost.Prices{Date: "2026-11-25", Region: "ap-northeast-2", Currency: "USD", HoursPerMonth: 730, LeavesOut: "traffic"},
		Stacks: []Stack{{
			Name: "dev",
			Changes: []Change{
				{Op: "delete", URN: urn(instance, "gone"), Why: "no longer in the program"},
				{Op: "replace", URN: urn(command, "join"), Why: "because aws:ec2:Instance moved is replaced", Follows: true},
				{Op: "replace", URN: urn(instance, "moved"), Why: "`subnetId` changes"},
				{Op: "create", URN: urn(instance, "new")},
				{Op: "update", URN: urn(command, "ready")},
				{Op: "same", URN: urn(command, "init")},
			},
			Diff:   "~ one\n+ two\n",
			Before: cost.Estimate{Parts: map[cost.Part]cost.Amount{cost.Instances: {Monthly: 626.34}}},
			After:  cost.Estimate{Parts: map[cost.Part]cost.Amount{cost.Instances: {Monthly: 600}}},
		}},
	}
}

const wantComment = `<!-- eco2-preview -->
### Preview: what this changes in the stacks

Compared with ''0123456 (origin/main)'', in a model of AWS: nothing real was asked or touched.

- **dev**: 1 to create, 1 to update, 2 to replace, 1 to delete, 1 unchanged

**Replaced or deleted in dev**

- replaced ''aws:ec2:Instance moved'': ''subnetId'' changes
- replaced ''command:remote:Command join'': because aws:ec2:Instance moved is replaced
- deleted ''aws:ec2:Instance gone'': no longer in the program

| USD a month | before | after | difference |
|---|--:|--:|--:|
| **dev** | **626.34** | **600.00** | **-26.34** |
| instances | 626.34 | 600.00 | -26.34 |

<sub>An estimate from the on-demand prices of ap-northeast-2 in rehearsal/engine/cost/prices.yaml, dated 2026-11-25, with 730 hours a month. It leaves out traffic.</sub>

<details><summary>The diff of dev</summary>

''''''
~ one
+ two
''''''

</details>
`

func TestComment(t *testing.T) {
	assert.Equal(t, strings.ReplaceAll(wantComment, "''", "`"), report().Markdown(CommentLimit))
}

func TestNameOfTheBase(t *testing.T) {
	const commit = "0123456789abcdef0123456789abcdef01234567"
	for base, want := range map[string]string{
		"origin/main": "0123456 (origin/main)", "0123456": "0123456", commit: "0123456789ab",
	} {
		assert.Equal(t, want, Report{Base: base, Commit: commit}.base())
	}
	assert.Equal(t, "nowhere", Report{Base: "nowhere"}.base())
}

func TestCommentWhereNothingChanges(t *testing.T) {
	r := report()
	r.Stacks[0].Changes = []Change{{Op: "same", URN: urn(command, "init")}}
	text := r.Markdown(CommentLimit)
	assert.True(t, strings.HasPrefix(text, Marker+"\n"))
	assert.Contains(t, text, "**Nothing changes.**")
	assert.NotContains(t, text, "<details>")
	assert.NotContains(t, text, "USD")
	assert.Equal(t, Unchanged, r.Outcome())

	r.Stacks[0].Outputs = true
	assert.Equal(t, Changed, r.Outcome())
	assert.Contains(t, r.Markdown(CommentLimit), "1 unchanged, outputs change\n")
}

func TestCommentOfAFailure(t *testing.T) {
	r := report()
	r.Stacks = append(r.Stacks, Stack{Name: "prod", Problem: "The base could not be brought up: ```\nerror: no zones\n"})
	text := r.Markdown(CommentLimit)
	assert.Equal(t, Failed, r.Outcome())
	assert.Contains(t, text, "- **dev**: 1 to create")
	assert.Contains(t, text, "- **prod**: the preview failed\n")
	assert.Contains(t, text, "**Why prod failed**\n\n````\nThe base could not be brought up: ```\nerror: no zones\n````\n")

	whole := Report{Base: "nowhere", Problem: "there is no commit nowhere"}
	assert.Equal(t, Failed, whole.Outcome())
	assert.Equal(t, Marker+"\n### Preview: what this changes in the stacks\n\n**The preview failed.**\n\n```\nthere is no commit nowhere\n```\n", whole.Markdown(CommentLimit))
}

func TestACommentFitsWhateverChanges(t *testing.T) {
	huge := strings.Repeat("~ a line of the diff, with 가 in it\n", 50_000)
	lost := make([]Change, 5_000)
	for i := range lost {
		lost[i] = Change{Op: "delete", URN: urn(instance, fmt.Sprintf("node-%04d", i)), Why: "no longer in the program"}
	}
	many := report()
	for i := range 2_000 {
		many.Stacks = append(many.Stacks, Stack{Name: fmt.Sprint("stack", i), Problem: huge})
	}
	for name, r := range map[string]Report{
		"a huge diff":         {Stacks: []Stack{{Name: "dev", Changes: lost[:1], Diff: huge}}},
		"two":                 {Stacks: []Stack{{Name: "dev", Changes: lost[:1], Diff: huge}, {Name: "prod", Changes: lost[:1], Diff: huge}}},
		"many deletions":      {Stacks: []Stack{{Name: "dev", Changes: lost, Diff: huge}}},
		"one line":            {Stacks: []Stack{{Name: "dev", Changes: lost[:1], Diff: strings.Repeat("x", 100_000)}}},
		"an error":            {Stacks: []Stack{{Name: "dev", Problem: huge}, {Name: "prod", Problem: huge}}},
		"an error of all":     {Problem: huge},
		"backticks":           {Stacks: []Stack{{Name: "dev", Changes: lost[:1], Diff: strings.Repeat("`", 20_000) + "\n" + huge}}},
		"too many stacks":     many,
		"a diff just at it":   {Stacks: []Stack{{Name: "dev", Changes: lost[:1], Diff: strings.Repeat("0123456\n", 8_090)}}},
		"a diff just past it": {Stacks: []Stack{{Name: "dev", Changes: lost[:1], Diff: strings.Repeat("0123456\n", 8_100)}}},
	} {
		t.Run(name, func(t *testing.T) {
			text := r.Markdown(CommentLimit)
			assert.LessOrEqual(t, len(text), CommentLimit)
			assert.True(t, strings.HasPrefix(text, Marker+"\n"))
			assert.LessOrEqual(t, len(r.Markdown(SummaryLimit)), SummaryLimit)
		})
	}
}

func TestDiffsThatDoNotFitAreCutWithANote(t *testing.T) {
	line := strings.Repeat("가", 33) + "\n"
	changes := report().Stacks[0].Changes
	r := Report{Stacks: []Stack{
		{Name: "dev", Changes: changes, Diff: strings.Repeat(line, 1_000)},
		{Name: "prod", Changes: changes, Diff: strings.Repeat("short\n", 10)},
		{Name: "test", Changes: changes, Diff: strings.Repeat(line, 1_000)},
	}}
	text := r.Markdown(CommentLimit)
	assert.Greater(t, len(text), CommentLimit-1_000, "the available room is used")
	assert.Contains(t, text, strings.Repeat("short\n", 10)+"```\n", "a small diff is not cut")
	assert.Regexp(t, "Cut: 3\\d\\d of 1000 lines are here. The job's summary has more of them, `diff.dev.txt` in its artifact all.", text)
	assert.Regexp(t, "Cut: 3\\d\\d of 1000 lines are here. The job's summary has more of them, `diff.test.txt` in its artifact all.", text)
	assert.NotContains(t, text, "`diff.prod.txt`")
	assert.Equal(t, 0, strings.Count(strings.ReplaceAll(text, strings.TrimSpace(line), ""), "가"), "no line is cut in two")
	assert.NotContains(t, r.Markdown(SummaryLimit), "Cut:")
}

func TestAFenceIsLongerThanAnyInTheText(t *testing.T) {
	for text, want := range map[string]string{"": "```", "a `b` c": "```", "```\n": "````", "~ `````\n```": "``````"} {
		assert.Equal(t, want, fenceFor(text), text)
	}
}

func TestATextIsCutAtALinesEnd(t *testing.T) {
	for most, want := range map[int]string{-5: "", 0: "", 3: "", 4: "one\n", 7: "one\n", 8: "one\ntwo\n", 100: "one\ntwo\n"} {
		assert.Equal(t, want, cut("one\ntwo\n", most), most)
	}
}

func TestSecretsAreScrubbed(t *testing.T) {
	hide := scrubber([]string{"", "pass", "passphrase", "b3BlbnNzaC1rZXk="})
	assert.Equal(t, `connection: {key: "-----\n[secret]\n", a: [secret], b: [secret]}`,
		hide.Replace(`connection: {key: "-----\nb3BlbnNzaC1rZXk=\n", a: passphrase, b: pass}`))
}

func TestCosts(t *testing.T) {
	r := report()
	r.Stacks[0].Before.Parts[cost.Addresses] = cost.Amount{Monthly: 10}
	r.Stacks[0].After.Parts[cost.Addresses] = cost.Amount{Monthly: 10}
	r.Stacks[0].After.Parts[cost.Instances] = cost.Amount{Monthly: 600, Incomplete: true}
	r.Stacks[0].After.Unpriced = []string{"no price for m7i.large in prices.yaml"}
	r.Stacks = append(r.Stacks, Stack{Name: "prod", Before: r.Stacks[0].Before, After: r.Stacks[0].Before}, Stack{Name: "test", Problem: "no"})
	assert.Equal(t, []costRow{
		{"dev", "636.34", "610.00, incomplete", "unknown", true},
		{"instances", "626.34", "600.00, incomplete", "unknown", false},
		{"public IPv4 addresses", "10.00", "10.00", "0", false},
		{"prod", "636.34", "636.34", "0", true},
	}, r.costRows())
	for _, text := range []string{r.Markdown(CommentLimit), printed(t, r)} {
		assert.Contains(t, text, "dev: no price for m7i.large in prices.yaml\n")
	}
}

func printed(t *testing.T, r Report) string {
	t.Helper()
	var b strings.Builder
	require.NoError(t, r.Text(&b))
	return b.String()
}

func TestText(t *testing.T) {
	text := printed(t, report())
	assert.True(t, strings.HasPrefix(text, "dev: 1 to create, 1 to update, 2 to replace, 1 to delete, 1 unchanged\n"+
		"dev: replaced aws:ec2:Instance moved: `subnetId` changes\n"+
		"dev: replaced command:remote:Command join: because aws:ec2:Instance moved is replaced\n"+
		"dev: deleted aws:ec2:Instance gone: no longer in the program\n"), text)
	assert.True(t, strings.HasSuffix(text, "\n~ one\n+ two\n\n"), text)
	behind := report()
	behind.Ahead = 3
	assert.Contains(t, printed(t, behind), "The base has 3 commit(s) that the working tree lacks")
	assert.Equal(t, "The preview failed: no such thing\n", printed(t, Report{Problem: "no such thing"}))
	assert.Equal(t, "Nothing changes against HEAD.\n", printed(t, Report{Base: "HEAD"}))
}

func TestFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	read := func(name string) string {
		data, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		return string(data)
	}
	require.NoError(t, Clear(dir), "the first time")
	require.NoError(t, report().Write(dir))
	assert.Equal(t, "changed\n", read("outcome"))
	assert.Equal(t, "~ one\n+ two\n", read("diff.dev.txt"))
	assert.Equal(t, report().Markdown(CommentLimit), read("comment.md"))
	assert.Equal(t, report().Markdown(SummaryLimit), read("full.md"))

	require.NoError(t, os.WriteFile(filepath.Join(dir, "mine.txt"), nil, 0o600))
	require.NoError(t, Clear(dir))
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 1, "only files of a report are removed")
	assert.Equal(t, "mine.txt", left[0].Name())
}
