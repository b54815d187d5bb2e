package balancer

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"eco2/rehearsal/cloud/aws"
)

// ServeHTTP implements http.Handler.
func (d *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	now := d.current.Load()
	at := slices.IndexFunc(now.Listeners, func(l aws.Listener) bool { return l.Port == d.port })
	if at < 0 {
		respond(w, http.StatusServiceUnavailable) // the listener was deleted, and this endpoint is about to close
		return
	}
	action := actionFor(now.Listeners[at], hostOf(r), r.URL.Path)
	switch {
	case action.RedirectConfig != nil:
		w.Header().Set("Location", redirected(*action.RedirectConfig, d.port, r))
		status := http.StatusMovedPermanently
		if action.RedirectConfig.StatusCode == types.RedirectActionStatusCodeEnumHttp302 {
			status = http.StatusFound
		}
		respond(w, status)
	case action.FixedResponseConfig != nil:
		said := action.FixedResponseConfig
		status, err := strconv.Atoi(value(said.StatusCode))
		if err != nil {
			status = http.StatusInternalServerError
		}
		w.Header().Set("Server", "awselb/2.0")
		w.Header().Set("Content-Type", cmp.Or(value(said.ContentType), "text/plain"))
		w.WriteHeader(status)
		_, _ = io.WriteString(w, value(said.MessageBody)) // fails only if the client has disconnected
	default:
		t, ok := d.health.choose(now.targets[value(action.TargetGroupArn)])
		if !ok {
			respond(w, http.StatusServiceUnavailable)
			return
		}
		d.forward(w, r, t)
	}
}

// actionFor returns the action of the first rule whose conditions a request meets, or else the listener's default
// action.
func actionFor(l aws.Listener, host, path string) types.Action {
	rules := slices.SortedFunc(slices.Values(l.Rules), func(a, b aws.ListenerRule) int { return cmp.Compare(a.Priority, b.Priority) })
	for _, r := range append(rules, aws.ListenerRule{Actions: l.Default}) {
		met := func(c types.RuleCondition) bool { return matches(c, host, path) }
		if len(r.Actions) > 0 && !slices.ContainsFunc(r.Conditions, func(c types.RuleCondition) bool { return !met(c) }) {
			return r.Actions[0]
		}
	}
	return types.Action{}
}

// redirected returns the URL of a redirect, in which placeholders such as #{path} stand for parts of the request.
func redirected(to types.RedirectActionConfig, port int, r *http.Request) string {
	protocol := map[bool]string{false: "HTTP", true: "HTTPS"}[r.TLS != nil]
	fill := strings.NewReplacer("#{protocol}", protocol, "#{host}", hostOf(r), "#{port}", strconv.Itoa(port),
		"#{path}", strings.TrimPrefix(r.URL.EscapedPath(), "/"), "#{query}", r.URL.RawQuery).Replace
	location := fmt.Sprintf("%s://%s:%s%s", strings.ToLower(fill(value(to.Protocol))), fill(value(to.Host)), fill(value(to.Port)), fill(value(to.Path)))
	if query := fill(value(to.Query)); query != "" {
		location += "?" + query
	}
	return location
}

// forward proxies a request to a target.
func (d *endpoint) forward(w http.ResponseWriter, r *http.Request, t target) {
	proxy := httputil.ReverseProxy{
		Transport: d.transport, ErrorLog: d.vpc.Log,
		FlushInterval: -1, // flush at once, for watches and event streams
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host, p.Out.Host = t.scheme, t.address.String(), p.In.Host
			p.Out.URL.RawQuery = p.In.URL.RawQuery // unchanged, even if it is malformed
			client, _, _ := net.SplitHostPort(p.In.RemoteAddr)
			p.Out.Header.Set("X-Forwarded-For", strings.Join(append(p.In.Header.Values("X-Forwarded-For"), client), ", "))
			p.Out.Header.Set("X-Forwarded-Proto", map[bool]string{false: "http", true: "https"}[p.In.TLS != nil])
			p.Out.Header.Set("X-Forwarded-Port", strconv.Itoa(d.port))
			if host, ok := p.In.Header["X-Forwarded-Host"]; ok {
				p.Out.Header["X-Forwarded-Host"] = host // the client's own, unchanged
			}
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() != nil {
				return // the client has disconnected
			}
			status := http.StatusBadGateway
			if timeout := net.Error(nil); errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout() {
				status = http.StatusGatewayTimeout
			}
			d.vpc.Log.Printf("load balancer %s: %s %s%s at %s: %s", d.current.Load().Name, r.Method, r.Host, r.URL.Path, t.address, err)
			respond(w, status)
		},
	}
	proxy.ServeHTTP(w, r)
}

// respond writes a response of the load balancer itself.
func respond(w http.ResponseWriter, status int) {
	w.Header().Set("Server", "awselb/2.0")
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "%d %s\n", status, http.StatusText(status)) // fails only if the client has disconnected
}

// hostOf returns the host name that a client requests, in lower case and without a port.
func hostOf(r *http.Request) string {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.ToLower(host)
}

// matches reports whether a request meets a condition, which is when one of its values matches the request's host or
// path.
func matches(c types.RuleCondition, host, path string) bool {
	switch {
	case c.HostHeaderConfig != nil:
		return slices.ContainsFunc(c.HostHeaderConfig.Values, func(pattern string) bool { return wildcard(strings.ToLower(pattern), host) })
	case c.PathPatternConfig != nil:
		return slices.ContainsFunc(c.PathPatternConfig.Values, func(pattern string) bool { return wildcard(pattern, path) })
	}
	return false // the API accepts no other conditions
}

// wildcard compares with a pattern in which "*" matches any text and "?" any one character.
func wildcard(pattern, text string) bool {
	expression := strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(regexp.QuoteMeta(pattern))
	return regexp.MustCompile("(?s)^" + expression + "$").MatchString(text)
}

// value returns the string that a pointer of the SDK points at, or "" for nil.
func value(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}
