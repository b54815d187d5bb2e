package balancer

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"eco2/rehearsal/awsapi/elb"
)

// ServeHTTP implements http.Handler.
func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	now := d.now.Load()
	at := slices.IndexFunc(now.Listeners, func(l elb.Listener) bool { return l.Port == d.port })
	if at < 0 {
		answer(w, http.StatusServiceUnavailable) // it is about to close
		return
	}
	listener := now.Listeners[at]
	if listener.RedirectPort != 0 {
		to := &url.URL{Scheme: "https", Host: net.JoinHostPort(hostOf(r), strconv.Itoa(listener.RedirectPort)), Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
		w.Header().Set("Location", to.String())
		answer(w, http.StatusMovedPermanently)
		return
	}
	at = slices.IndexFunc(listener.Rules, func(rule elb.Rule) bool { return matches(rule, hostOf(r), r.URL.Path) })
	if at < 0 {
		answer(w, http.StatusNotFound)
		return
	}
	t, ok := d.health.choose(now.targets[listener.Rules[at].TargetGroup])
	if !ok {
		answer(w, http.StatusServiceUnavailable)
		return
	}
	d.forward(w, r, t)
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

func matches(rule elb.Rule, host, path string) bool {
	return (rule.Host == "" || wildcard(strings.ToLower(rule.Host), host)) && (rule.Path == "" || prefix(rule.Path, path))
}

// wildcard says whether a host is the rule's, which may begin with "*.".
func wildcard(rule, host string) bool {
	suffix, ok := strings.CutPrefix(rule, "*")
	return host == rule || ok && strings.HasSuffix(host, suffix)
}

// prefix says whether a path is the rule's, which may end with "*".
func prefix(rule, path string) bool {
	begin, ok := strings.CutSuffix(rule, "*")
	return path == rule || ok && strings.HasPrefix(path, begin)
}
