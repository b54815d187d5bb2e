package balancer

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"eco2/rehearsal/cloud/aws"
)

const (
	// interval is the time between two checks of a target, and checkTimeout the timeout of one. AWS's are 15 and 5
	// seconds.
	interval     = 3 * time.Second
	checkTimeout = 2 * time.Second
	// unhealthyAfter is the number of failed checks in a row after which a target is unhealthy. A single passed check
	// makes it healthy.
	unhealthyAfter = 2
)

// target is a port of an instance, with the settings of its health checks.
type target struct {
	scheme  string
	address netip.AddrPort
	// probe is the protocol and probed the address of health checks.
	probe       string
	probed      netip.AddrPort
	path, codes string
}

// targetsOf returns the targets of a group whose instances are running.
func targetsOf(g aws.TargetGroup, instances []aws.Instance) (targets []target) {
	for _, t := range g.Targets {
		at := slices.IndexFunc(instances, func(i aws.Instance) bool { return i.ID == t.InstanceID })
		if at < 0 || instances[at].State != "running" {
			continue
		}
		ip, err := netip.ParseAddr(instances[at].PrivateIP)
		if err != nil {
			continue
		}
		probed := t.Port
		if port, err := strconv.Atoi(g.HealthCheck.Port); err == nil {
			probed = port
		}
		targets = append(targets, target{
			scheme: strings.ToLower(g.Protocol), address: addressOf(ip, t.Port), probe: strings.ToLower(g.HealthCheck.Protocol),
			probed: addressOf(ip, probed), path: g.HealthCheck.Path, codes: g.HealthCheck.Codes,
		})
	}
	return targets
}

func addressOf(ip netip.Addr, port int) netip.AddrPort {
	return netip.AddrPortFrom(ip, uint16(port)) //nolint:gosec // ports fit into 16 bits
}

// health holds the health of a load balancer's targets.
type health struct {
	// changed signals that the targets have changed; checking is locked while they are being checked.
	changed  chan struct{}
	checking sync.Mutex

	mu      sync.Mutex
	all     []target
	checked map[target]*checks
	turn    int
}

// checks is the result of a target's health checks so far.
type checks struct {
	healthy bool
	failed  int // in a row
}

// setTargets sets the targets, and triggers a check if they have changed.
func (h *health) setTargets(s *settings) {
	var all []target
	for _, arn := range slices.Sorted(maps.Keys(s.targets)) {
		all = append(all, s.targets[arn]...)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if reflect.DeepEqual(all, h.all) {
		return
	}
	h.all = all
	select {
	case h.changed <- struct{}{}:
	default:
	}
}

// choose returns the healthy targets in turn, or all in turn if none is healthy. ok is false if there are no targets.
func (h *health) choose(among []target) (t target, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	healthy := slices.DeleteFunc(slices.Clone(among), func(t target) bool { return h.checked[t] == nil || !h.checked[t].healthy })
	if len(healthy) > 0 {
		among = healthy
	}
	if len(among) == 0 {
		return target{}, false
	}
	h.turn++
	return among[h.turn%len(among)], true
}

// record stores the results of a round of checks, and forgets targets that were not checked.
func (h *health) record(passed map[target]bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	checked := map[target]*checks{}
	for t, ok := range passed {
		c := h.checked[t]
		if c == nil {
			c = &checks{}
		}
		switch {
		case ok:
			c.healthy, c.failed = true, 0
		default:
			c.failed++
			c.healthy = c.healthy && c.failed < unhealthyAfter
		}
		checked[t] = c
	}
	h.checked = checked
}

// watch checks the targets periodically, and when they change.
func (b *balancer) watch(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.health.changed:
		case <-time.After(interval):
		}
		b.checkAll(ctx)
	}
}

// checkAll checks each target once.
func (b *balancer) checkAll(ctx context.Context) {
	b.health.checking.Lock()
	defer b.health.checking.Unlock()
	now := b.current.Load()
	client, err := b.checkClient(now)
	if err != nil {
		return // it has no address yet to connect from
	}
	passed := map[target]bool{}
	var mu sync.Mutex
	var group sync.WaitGroup
	for _, targets := range now.targets {
		for _, t := range targets {
			group.Go(func() {
				ok := check(ctx, client, t)
				mu.Lock()
				defer mu.Unlock()
				passed[t] = ok
			})
		}
	}
	group.Wait()
	b.health.record(passed)
}

// checkClient returns a client that connects from the lowest of the load balancer's addresses, and does not follow
// redirects.
func (b *balancer) checkClient(now *settings) (*http.Client, error) {
	var from netip.Addr
	for address := range now.interfaces {
		if !from.IsValid() || address.Less(from) {
			from = address
		}
	}
	if !from.IsValid() {
		return nil, fmt.Errorf("load balancer %s has no interface", now.Name)
	}
	return &http.Client{
		Transport: b.transport(from), Timeout: checkTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// check checks a target's health once.
func check(ctx context.Context, client *http.Client, t target) bool {
	path := t.path
	if path == "" {
		path = "/"
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, t.probe+"://"+t.probed.String()+path, nil)
	if err != nil {
		return false
	}
	request.Header.Set("User-Agent", "ELB-HealthChecker/2.0")
	response, err := client.Do(request)
	if err != nil {
		return false
	}
	_, _ = io.Copy(io.Discard, response.Body) // only the status matters
	_ = response.Body.Close()
	return codeMatches(t.codes, response.StatusCode)
}

// codeMatches reports whether a status is in codes, which are in AWS's format: "200", "200,302", "200-299".
func codeMatches(codes string, status int) bool {
	if codes == "" {
		return status == http.StatusOK
	}
	for _, part := range strings.Split(codes, ",") {
		low, high, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			high = low
		}
		from, err1 := strconv.Atoi(low)
		to, err2 := strconv.Atoi(high)
		if err1 == nil && err2 == nil && from <= status && status <= to {
			return true
		}
	}
	return false
}
