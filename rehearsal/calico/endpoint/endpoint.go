// Package endpoint is what the CNI plugin of a node tells calico-node there: the address that a pod has been
// given. The API server knows it only when the pod's containers run, which is too late for their first
// packets. Calico's plugin writes it to the API server; here it goes over a socket on the node.
package endpoint

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"time"
)

// Socket is where calico-node of a node listens, in a directory that Calico has too.
const Socket = "/var/run/calico/endpoint.sock"

// Endpoint is a pod's end of the network.
type Endpoint struct {
	Namespace, Pod string
	// UID tells a pod from the one before it that had the same name.
	UID     string
	Address netip.Addr
}

// Announce tells who listens at the socket, and returns once the endpoint's policies are in force.
func Announce(ctx context.Context, socket string, e Endpoint) error {
	body, err := json.Marshal(e)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://calico-node/", bytes.NewReader(body))
	if err != nil {
		return err
	}
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("announcing pod %s/%s to calico-node: %w", e.Namespace, e.Pod, err)
	}
	defer func() { _ = response.Body.Close() }() // it was only read
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 1024)) // the status says enough
		return fmt.Errorf("announcing pod %s/%s to calico-node: %s: %s", e.Namespace, e.Pod, response.Status, bytes.TrimSpace(text))
	}
	return nil
}

// Listen makes the socket, in the place of that of the process before this one.
func Listen(socket string) (net.Listener, error) {
	err := os.Remove(socket)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		var listener net.Listener
		if listener, err = net.Listen("unix", socket); err == nil {
			return listener, nil
		}
	}
	return nil, fmt.Errorf("listening for endpoints: %w", err)
}

// Serve calls enforce for each endpoint that is announced, and answers when it returns. It ends with ctx.
func Serve(ctx context.Context, listener net.Listener, enforce func(context.Context, Endpoint) error) error {
	server := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var e Endpoint
		if err := json.NewDecoder(r.Body).Decode(&e); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if err := enforce(r.Context(), e); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	})}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("listening for endpoints: %w", err)
	}
	return ctx.Err()
}
