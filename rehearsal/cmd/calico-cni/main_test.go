package main

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/calico/endpoint"
)

// What containerd calls a plugin with, behind one that gave the address.
var called = &skel.CmdArgs{
	Args: "IgnoreUnknown=1;K8S_POD_NAMESPACE=web;K8S_POD_NAME=front;K8S_POD_UID=0815;K8S_POD_INFRA_CONTAINER_ID=4711",
	StdinData: []byte(`{"cniVersion": "1.0.0", "name": "k8s-pod-network", "type": "calico", "prevResult": {
		"cniVersion": "1.0.0", "ips": [{"address": "fd00::2/64"}, {"address": "192.168.0.2/24", "gateway": "192.168.0.1"}]}}`),
}

func TestAPodStartsOnceItIsAnnounced(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "socket")
	var out bytes.Buffer
	added := make(chan error)
	go func() { added <- add(t.Context(), &out, socket, called) }()
	// calico-node comes later than the pod, and fails at first.
	listener, err := endpoint.Listen(socket)
	require.NoError(t, err)
	serving, stop := context.WithCancel(t.Context())
	told, done := make(chan endpoint.Endpoint, 2), make(chan error)
	go func() {
		done <- endpoint.Serve(serving, listener, func(_ context.Context, e endpoint.Endpoint) error {
			told <- e
			if len(told) == 1 {
				return errors.New("not yet")
			}
			return nil
		})
	}()
	require.NoError(t, <-added)
	stop()
	assert.ErrorIs(t, <-done, context.Canceled)
	require.Len(t, told, 2)
	assert.Equal(t, endpoint.Endpoint{Namespace: "web", Pod: "front", UID: "0815", Address: netip.MustParseAddr("192.168.0.2")}, <-told)
	assert.JSONEq(t, `{"cniVersion": "1.0.0", "ips": [{"address": "fd00::2/64"}, {"address": "192.168.0.2/24", "gateway": "192.168.0.1"}]}`, out.String())
}

func TestAPodStartsWithoutCalicoNode(t *testing.T) {
	impatient, cancel := context.WithCancel(t.Context())
	cancel()
	var out bytes.Buffer
	require.NoError(t, add(impatient, &out, filepath.Join(t.TempDir(), "socket"), called))
	assert.Contains(t, out.String(), "192.168.0.2/24")
}

func TestWithoutAnAddressThereIsNothingToAnnounce(t *testing.T) {
	for config, want := range map[string]string{
		`{"cniVersion": "1.0.0"}`: "there is no plugin before this one, which would give the pod an address",
		`{"cniVersion": "1.0.0", "prevResult": {"cniVersion": "1.0.0"}}`: "pod web/front has no IPv4 address",
	} {
		assert.EqualError(t, add(t.Context(), new(bytes.Buffer), "", &skel.CmdArgs{Args: called.Args, StdinData: []byte(config)}), want)
	}
}
