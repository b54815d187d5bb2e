package main

import (
	"bytes"
	"context"
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
	Args: "IgnoreUnknown=1;K8S_POD_NAMESPACE=web;K8S_POD_NAME=front;K8S_POD_INFRA_CONTAINER_ID=4711",
	StdinData: []byte(`{"cniVersion": "1.0.0", "name": "k8s-pod-network", "type": "calico", "prevResult": {
		"cniVersion": "1.0.0", "ips": [{"address": "fd00::2/64"}, {"address": "192.168.0.2/24", "gateway": "192.168.0.1"}]}}`),
}

func TestThePodIsAnnounced(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "socket")
	listener, err := endpoint.Listen(socket)
	require.NoError(t, err)
	serving, stop := context.WithCancel(t.Context())
	told, done := make(chan endpoint.Endpoint, 1), make(chan error)
	go func() {
		done <- endpoint.Serve(serving, listener, func(_ context.Context, e endpoint.Endpoint) error {
			told <- e
			return nil
		})
	}()
	var out bytes.Buffer
	require.NoError(t, add(&out, socket, called))
	assert.Equal(t, endpoint.Endpoint{Namespace: "web", Pod: "front", Address: netip.MustParseAddr("192.168.0.2")}, <-told)
	assert.JSONEq(t, `{"cniVersion": "1.0.0", "ips": [{"address": "fd00::2/64"}, {"address": "192.168.0.2/24", "gateway": "192.168.0.1"}]}`, out.String())
	stop()
	assert.ErrorIs(t, <-done, context.Canceled)
}

func TestAPodStartsWithoutCalicoNode(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, add(&out, filepath.Join(t.TempDir(), "socket"), called))
	assert.Contains(t, out.String(), "192.168.0.2/24")
}

func TestWithoutAnAddressThereIsNothingToAnnounce(t *testing.T) {
	for config, want := range map[string]string{
		`{"cniVersion": "1.0.0"}`: "there is no plugin before this one, which would give the pod an address",
		`{"cniVersion": "1.0.0", "prevResult": {"cniVersion": "1.0.0"}}`: "pod web/front has no IPv4 address",
	} {
		assert.EqualError(t, add(new(bytes.Buffer), "", &skel.CmdArgs{Args: called.Args, StdinData: []byte(config)}), want)
	}
}
