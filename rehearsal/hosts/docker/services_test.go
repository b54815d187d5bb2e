package docker

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The services answer pods, so they get what they use of this host and nothing else.
func TestServicesRecipe(t *testing.T) {
	d := &Driver{stateDir: "/checkout/.rehearsal/rehearse"}
	config, host := d.servicesRecipe(network{ID: "vpc-0a"}, "eco2-machine:1", d.stateDir+"/bin/vpc", "/cache/mirror", "/cache/authority")
	assert.Equal(t, []string{
		"/cache/authority:/authority:ro",
		"/cache/mirror:/mirror:ro",
		"/checkout/.rehearsal/rehearse/aws.db:/state/aws.db:rw",
		"/checkout/.rehearsal/rehearse/bin/vpc:/usr/local/sbin/vpc:ro",
		"/checkout/.rehearsal/rehearse/git:/state/git:ro",
		"/checkout/.rehearsal/rehearse/machines.lock:/state/machines.lock:rw",
		"/checkout/.rehearsal/rehearse/machines:/state/machines:rw",
	}, host.Binds)
	assert.Contains(t, config.Cmd, "/mirror")
	assert.False(t, host.Privileged)
}

// The keys, secrets and kubeconfigs of the stacks are in the state directory, too.
func TestServicesDoNotSeeTheStateDirectory(t *testing.T) {
	l := newLab(t)
	require.NoError(t, os.WriteFile(filepath.Join(l.driver.stateDir, "throwaway.json"), []byte("{}"), 0o600))
	found, err := l.driver.find(t.Context())
	require.NoError(t, err)
	output, exit, err := l.driver.exec(t.Context(), found.boxes[l.vpc].ID, "ls", "/state")
	require.NoError(t, err)
	require.Zero(t, exit, output)
	assert.Equal(t, []string{"aws.db", "git", "machines", "machines.lock"}, strings.Fields(output))
}
