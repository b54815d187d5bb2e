package machines

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// notOnMachines are parts of the commands in docs/operations.md that runsThePage does not run, with the reason.
var notOnMachines = map[string]string{
	"growpart":        "a container's disk has no partition",
	"cloud-init":      "a container has none",
	"authorized_keys": "TestDayTwo rotates the SSH key, and this test needs the one it has",
	"on <node> <":     "says how the page names a command",
}

// runsThePage runs the commands that docs/operations.md runs on machines. It reads them, and the function `on`, from the
// page, so that the page cannot show a command that fails.
func (c *cluster) runsThePage(t *testing.T) {
	text := readFile(t, filepath.Join(c.Options.Repo, "docs", "operations.md"))
	on := regexp.MustCompile(`(?m)^on\(\) \{.*\}$`).FindString(text)
	require.NotEmpty(t, on, "the page no longer defines on")
	var scripts []string
	for _, block := range regexp.MustCompile("(?ms)^```sh\n(.*?)^```").FindAllStringSubmatch(text, -1) {
		if regexp.MustCompile(`(?m)^ *on `).MatchString(block[1]) {
			scripts = append(scripts, block[1])
		}
	}
	for _, span := range regexp.MustCompile("`(on [^`]+)`").FindAllStringSubmatch(text, -1) {
		scripts = append(scripts, span[1])
	}

	// The directory of a user with the commands that the page expects.
	dir := t.TempDir()
	outputs := c.Must(c.Pulumi("stack", "output", "ssh", "--json"))
	for name, content := range map[string]string{
		"outputs":     outputs,
		"bin/pulumi":  "#!/bin/bash\n[[ $* == 'stack output ssh --json' ]] && cat '" + dir + "/outputs'\n",
		"bin/ssh":     "#!/bin/bash\nexec /usr/bin/ssh -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile='" + dir + "/known_hosts' \"$@\"\n",
		"bin/kubectl": "#!/bin/bash\nexec '" + c.binary + "' --kubeconfig='" + c.config + "' \"$@\"\n",
		"eco2.key":    c.PrivateKey(),
	} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o700)) //nolint:gosec // commands
	}
	require.NoError(t, os.Chmod(filepath.Join(dir, "eco2.key"), 0o600))

	ran := 0
next:
	for _, script := range scripts {
		for part := range notOnMachines {
			if strings.Contains(script, part) {
				continue next
			}
		}
		script = strings.ReplaceAll(script, "<node>", "k8s-redis")
		bash := exec.CommandContext(t.Context(), "bash", "-e", "-o", "pipefail", "-c", on+"\n"+script)
		bash.Dir, bash.Env = dir, append(os.Environ(), "PATH="+dir+"/bin:"+os.Getenv("PATH"))
		output, err := bash.CombinedOutput()
		assert.NoError(t, err, "%s\n%s", script, output)
		assert.NotEmpty(t, output, script)
		ran++
	}
	assert.GreaterOrEqual(t, ran, 6, "commands of the page")
	status := c.kubectl("--namespace=kube-system", "exec", "etcd-k8s-master", "--", "etcdutl", "snapshot", "status", "/var/lib/etcd/snapshot.db", "--write-out=json")
	assert.Regexp(t, `"totalKey":[1-9]\d\d`, status, "the page's backup of etcd")
	c.on("k8s-master", "rm /var/lib/etcd/snapshot.db")
}
