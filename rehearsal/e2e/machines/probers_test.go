package machines

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netns"

	"eco2/rehearsal/internal/netspace"
)

// prober asks the probe in a pod what it reaches, by HTTP from the network of the pod's own node: no NetworkPolicy applies
// to that, as the kubelet's probes come from there. `kubectl exec` would use a process in the pod for each question, and
// most of the test's CPU time.
type prober struct {
	client  *http.Client
	address string
}

// newProber returns the prober of a pod on a machine.
func (c *cluster) newProber(t *testing.T, node, podAddress string) prober {
	t.Helper()
	pid := c.pid(t, node)
	transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		return inNetworkOf(pid, func() (net.Conn, error) {
			return (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, network, address)
		})
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return prober{&http.Client{Transport: transport, Timeout: time.Minute}, podAddress}
}

// try has the probe try targets, in cmd/probe's format, and returns its answer for each.
func (p prober) try(ctx context.Context, targets []string) (map[string]string, error) {
	query := url.Values{"target": targets}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(p.address, "8080")+"/try?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	response, err := p.client.Do(request)
	if err != nil {
		return nil, err
	}
	answers := map[string]string{}
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		target, answer, _ := strings.Cut(lines.Text(), " ")
		answers[target] = answer
	}
	if err := errors.Join(lines.Err(), response.Body.Close()); err != nil {
		return nil, err
	}
	for _, target := range targets {
		if answers[target] == "" {
			return nil, fmt.Errorf("no answer for %s", target)
		}
	}
	return answers, nil
}

// pid returns the ID of the first process of a node's machine.
func (c *cluster) pid(t *testing.T, node string) int {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "docker", "inspect", "--format={{.State.Pid}}", c.machines()[node].Container).Output()
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
	require.NoError(t, err)
	return pid
}

// inNetworkOf calls a function in the network namespace of a process. What it opens stays there.
func inNetworkOf[T any](pid int, do func() (T, error)) (result T, err error) {
	space, err := netns.GetFromPid(pid)
	if err != nil {
		return result, err
	}
	defer func() { _ = space.Close() }() // it is only read
	return netspace.In(space, do)
}
