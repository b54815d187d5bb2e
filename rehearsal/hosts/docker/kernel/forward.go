package kernel

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// forwarding is the setting with which the kernel forwards packets between networks.
const forwarding = "net.ipv4.ip_forward"

// The policies of iptables' FORWARD chain: what happens to a packet for which there is no rule.
const (
	accept = "ACCEPT"
	drop   = "DROP"
)

// forward turns forwarding on, and makes sure that a host which did not forward packets before forwards only those of
// Docker's networks. Otherwise it would route between all networks that it is connected to.
//
// Docker sets the policy of FORWARD to DROP itself, but only when it finds forwarding off and turns it on. This is so in
// version 20.10, Debian 12's, and in version 29 with iptables (setup_ip_forwarding.go in its bridge driver), where the
// option ip-forward-no-drop prevents it. With nftables, version 29 neither turns forwarding on nor restricts it, and a
// policy of iptables would drop the packets of Docker's own networks.
func (h *Host) forward(ctx context.Context, r *record, engine Engine) error {
	forwards, err := h.read(forwarding)
	if err != nil {
		return err
	}
	if forwards == 0 && engine.Nftables {
		return errors.New("this host does not forward packets, and with its nftables backend Docker does not restrict " +
			"forwarding: set " + forwarding + " = 1 and rules of your own for what is not Docker's, " +
			"as https://docs.docker.com/engine/network/firewall-nftables/ describes, and run this again")
	}
	if forwards == 0 {
		r.Routed = false // nobody relies on it any more
	}
	if !r.Routed && !engine.Nftables {
		if err := h.closeForward(ctx, r); err != nil {
			return err
		}
	}
	if forwards == 0 {
		return h.write(r, forwarding, 0, 1, "public addresses are translated on this host")
	}
	return nil
}

func (h *Host) closeForward(ctx context.Context, r *record) error {
	policy, err := h.policy(ctx)
	if err != nil || policy == drop {
		return err
	}
	h.say("setting the policy of iptables' FORWARD chain to %s (was %s): otherwise this host would route between all its networks", drop, policy)
	if r.Policy == "" {
		r.Policy = policy
	}
	if err := h.save(r); err != nil {
		return err
	}
	return h.setPolicy(ctx, drop)
}

// policy returns the policy of iptables' FORWARD chain.
func (h *Host) policy(ctx context.Context) (string, error) {
	rules, err := h.command(ctx, "iptables", "--wait", "--list-rules", "FORWARD")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(rules) {
		if policy, ok := strings.CutPrefix(line, "-P FORWARD "); ok {
			return strings.TrimSpace(policy), nil
		}
	}
	return "", fmt.Errorf("reading the policy of iptables' FORWARD chain: there is none in %q", rules)
}

func (h *Host) setPolicy(ctx context.Context, policy string) error {
	_, err := h.command(ctx, "iptables", "--wait", "--policy", "FORWARD", policy)
	return err
}
