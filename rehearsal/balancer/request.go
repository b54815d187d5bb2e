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

	"eco2/rehearsal/aws"
)

// ServeHTTP implements http.Handler.
func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	now := d.now.Load()
	at := slices.IndexFunc(now.Listeners, func(l aws.Listener) bool { return l.Port == d.port })
	if at < 0 {
		answer(w, http.StatusServiceUnavailable) // it is about to close
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
		answer(w, status)
	case action.FixedResponseConfig != nil:
		said := action.FixedResponseConfig
		status, err := strconv.Atoi(value(said.StatusCode))
		if err != nil {
			status = http.StatusInternalServerError
		}
		w.Header().Set("Server", "awselb/2.0")
		w.Header().Set("Content-Type", cmp.Or(value(said.ContentType), "text/plain"))
		w.WriteHeader(status)
		_, _ = io.WriteString(w, value(said.MessageBody)) // who asked may have left
	default:
		t, ok := d.health.choose(now.targets[value(action.TargetGroupArn)])
		if !ok {
			answer(w, http.StatusServiceUnavailable)
			return
		}
		d.forward(w, r, t)
	}
}

// actionFor is the action of the first rule whose conditions a request meets, or else the listener's own.
func actionFor(l aws.Listener, host, path string) types.Action {
	rules := slices.SortedFunc(slices.Values(l.Rules), func(a, b aws.ListenerRule) int { return cmp.Compare(a.Priority, b.Priority) })
	for _, r := range append(rules, aws.ListenerRule{Actions: l.Default}) {
		met := func(c types.RuleCondition) bool { return meets(c, host, path) }
		if len(r.Actions) > 0 && !slices.ContainsFunc(r.Conditions, func(c types.RuleCondition) bool { return !met(c) }) {
			return r.Actions[0]
		}
	}
	return types.Action{}
}

// redirected is where a redirect leads: its parts may stand for those of the request.
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

// forward sends a request to a target and its answer back.
func (d *door) forward(w http.ResponseWriter, r *http.Request, t target) {
	proxy := httputil.ReverseProxy{
		Transport: d.transport, ErrorLog: d.vpc.Log,
		FlushInterval: -1, // watches and event streams are for now
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host, p.Out.Host = t.scheme, t.address.String(), p.In.Host
			p.Out.URL.RawQuery = p.In.URL.RawQuery // as it came, whatever it is
			client, _, _ := net.SplitHostPort(p.In.RemoteAddr)
			p.Out.Header.Set("X-Forwarded-For", strings.Join(append(p.In.Header.Values("X-Forwarded-For"), client), ", "))
			p.Out.Header.Set("X-Forwarded-Proto", map[bool]string{false: "http", true: "https"}[p.In.TLS != nil])
			p.Out.Header.Set("X-Forwarded-Port", strconv.Itoa(d.port))
			if host, ok := p.In.Header["X-Forwarded-Host"]; ok {
				p.Out.Header["X-Forwarded-Host"] = host // the client's own, whatever it is
			}
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() != nil {
				return // the client has left
			}
			status := http.StatusBadGateway
			if timeout := net.Error(nil); errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout() {
				status = http.StatusGatewayTimeout
			}
			d.vpc.Log.Printf("load balancer %s: %s %s%s at %s: %s", d.now.Load().Name, r.Method, r.Host, r.URL.Path, t.address, err)
			answer(w, status)
		},
	}
	proxy.ServeHTTP(w, r)
}

// answer is the load balancer's own.
func answer(w http.ResponseWriter, status int) {
	w.Header().Set("Server", "awselb/2.0")
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "%d %s\n", status, http.StatusText(status)) // who asked may have left
}

// hostOf is the name that a client asks for, in lower case and without a port.
func hostOf(r *http.Request) string {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.ToLower(host)
}

// meets says whether a request meets a condition: one of its values is the request's host or path.
func meets(c types.RuleCondition, host, path string) bool {
	switch {
	case c.HostHeaderConfig != nil:
		return slices.ContainsFunc(c.HostHeaderConfig.Values, func(pattern string) bool { return wildcard(strings.ToLower(pattern), host) })
	case c.PathPatternConfig != nil:
		return slices.ContainsFunc(c.PathPatternConfig.Values, func(pattern string) bool { return wildcard(pattern, path) })
	}
	return false // the API takes no other
}

// wildcard knows "*" for any text and "?" for any one character.
func wildcard(pattern, text string) bool {
	expression := strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(regexp.QuoteMeta(pattern))
	return regexp.MustCompile("(?s)^" + expression + "$").MatchString(text)
}

// value is what a pointer of the SDK's leads to, or nothing.
func value(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}
