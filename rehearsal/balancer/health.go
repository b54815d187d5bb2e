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

	"eco2/rehearsal/aws"
)

const (
	// interval is the time between two checks of a target, and checkTimeout what it has to answer one. AWS's are 15
	// and 5 seconds.
	interval     = 3 * time.Second
	checkTimeout = 2 * time.Second
	// unhealthyAfter is how many checks in a row a healthy target may fail. One that it passes makes it healthy.
	unhealthyAfter = 2
)

// target is a port of a machine, and how its health shows.
type target struct {
	scheme  string
	address netip.AddrPort
	// Its health is asked by this protocol, at this address.
	probe       string
	probed      netip.AddrPort
	path, codes string
}

// targetsOf are those of a group whose instances run.
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
	return netip.AddrPortFrom(ip, uint16(port)) //nolint:gosec // ports are that small
}

// health is what a load balancer knows of its targets.
type health struct {
	// changed says that there are others to check, and examining that they are being checked.
	changed   chan struct{}
	examining sync.Mutex

	mu      sync.Mutex
	all     []target
	checked map[target]*checks
	turn    int
}

// checks are how those of a target ended.
type checks struct {
	healthy bool
	failed  int // in a row
}

// hurry has targets checked at once that were not there before.
func (h *health) hurry(s *settings) {
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

// choose takes turns among the healthy targets, or among all where none is. There may be none.
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

// note keeps how a round of checks ended, and forgets the targets that were not in it.
func (h *health) note(passed map[target]bool) {
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

// watch checks the targets from time to time.
func (b *balancer) watch(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.health.changed:
		case <-time.After(interval):
		}
		b.examine(ctx)
	}
}

// examine checks each target once.
func (b *balancer) examine(ctx context.Context) {
	b.health.examining.Lock()
	defer b.health.examining.Unlock()
	now := b.now.Load()
	client, err := b.examiner(now)
	if err != nil {
		return // it has no address yet to ask from
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
	b.health.note(passed)
}

// examiner asks from the lowest of the load balancer's addresses, and follows no redirect.
func (b *balancer) examiner(now *settings) (*http.Client, error) {
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

// check asks a target how it is.
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
	_, _ = io.Copy(io.Discard, response.Body) // its status was enough
	_ = response.Body.Close()
	return within(t.codes, response.StatusCode)
}

// within says whether a status is among codes as AWS writes them: "200", "200,302", "200-299".
func within(codes string, status int) bool {
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
