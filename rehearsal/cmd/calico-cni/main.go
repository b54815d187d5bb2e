// Command calico-cni is the CNI plugin of the stand-in for Calico, the last in the chain of a node: it gives
// no address, but tells calico-node which pod has got one, and lets the pod start when its policies are in
// force. It is a command of its own because it runs for each pod.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"

	"eco2/rehearsal/calico/endpoint"
)

const (
	// patience is how long a pod waits for its policies. Then it starts all the same: with nothing in force
	// where calico-node has never been since the node booted, else closed until its address is known.
	patience = 5 * time.Second
	// pause is taken before calico-node, which may be starting too, is asked again.
	pause = 100 * time.Millisecond
)

func main() {
	nothing := func(*skel.CmdArgs) error { return nil } // the address is taken back by who gave it
	skel.PluginMainFuncs(skel.CNIFuncs{
		Add: func(args *skel.CmdArgs) error {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			return add(ctx, os.Stdout, endpoint.Socket, args)
		},
		Del: nothing, Check: nothing, GC: nothing, Status: nothing,
	}, version.All, "the stand-in for Calico announces a pod")
}

// add passes on what the plugins before it came to.
func add(ctx context.Context, out io.Writer, socket string, args *skel.CmdArgs) error {
	var config types.PluginConf
	if err := json.Unmarshal(args.StdinData, &config); err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	if err := version.ParsePrevResult(&config); err != nil {
		return fmt.Errorf("reading what the plugin before came to: %w", err)
	}
	if config.PrevResult == nil {
		return errors.New("there is no plugin before this one, which would give the pod an address")
	}
	pod, err := read(config.PrevResult, args.Args)
	if err != nil {
		return err
	}
	if err := announce(ctx, socket, pod); err != nil {
		fmt.Fprintln(os.Stderr, "the pod starts without its policies:", err)
	}
	return config.PrevResult.PrintTo(out)
}

// announce goes on until calico-node has the pod's policies in force, or the time is over.
func announce(ctx context.Context, socket string, pod endpoint.Endpoint) error {
	for {
		err := endpoint.Announce(ctx, socket, pod)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

// read finds the pod in what the container runtime says beside the configuration, and its IPv4 address.
func read(result types.Result, args string) (endpoint.Endpoint, error) {
	var named struct {
		types.CommonArgs
		K8S_POD_NAMESPACE, K8S_POD_NAME, K8S_POD_UID types.UnmarshallableString //nolint:revive // their names in CNI_ARGS
	}
	named.IgnoreUnknown = true
	if err := types.LoadArgs(args, &named); err != nil {
		return endpoint.Endpoint{}, fmt.Errorf("reading CNI_ARGS: %w", err)
	}
	pod := endpoint.Endpoint{Namespace: string(named.K8S_POD_NAMESPACE), Pod: string(named.K8S_POD_NAME), UID: string(named.K8S_POD_UID)}
	known, err := current.NewResultFromResult(result)
	if err != nil {
		return pod, fmt.Errorf("reading what the plugin before came to: %w", err)
	}
	for _, ip := range known.IPs {
		if address, ok := netip.AddrFromSlice(ip.Address.IP.To4()); ok {
			pod.Address = address
			return pod, nil
		}
	}
	return pod, fmt.Errorf("pod %s/%s has no IPv4 address", pod.Namespace, pod.Pod)
}
