package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"time"

	"golang.org/x/sync/errgroup"

	"eco2/rehearsal/cloud/api"
	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/supply/authority"
	"eco2/rehearsal/supply/gitserver"
	"eco2/rehearsal/supply/mirror/server"
)

// internet is everything outside the VPC, over HTTPS at one address: the mirror under the address itself, AWS's API and
// a git server under their names.
type internet struct {
	// address is the IP address, mirror and repositories are the directories of the mirror and of the git server.
	address, mirror, repositories string
	authority                     *authority.Authority
}

// amazon matches the endpoints of the AWS services that the rehearsal has.
var amazon = regexp.MustCompile(`^(route53|(acm|ec2|elasticloadbalancing|ssm)\.[a-z0-9-]+)\.amazonaws\.com$`)

// served reports whether a service exists under a name.
func served(name string) bool { return name == gitserver.Host || amazon.MatchString(name) }

func (i internet) serve(ctx context.Context, group *errgroup.Group, account *aws.Account, vpc string) error {
	git, err := gitserver.Handler(i.repositories)
	if err != nil {
		return err
	}
	listener, err := tls.Listen("tcp4", net.JoinHostPort(i.address, "443"), &tls.Config{
		MinVersion: tls.VersionTLS12, GetCertificate: i.certificate,
	})
	if err != nil {
		return fmt.Errorf("listening for the internet: %w", err)
	}
	handler := i.byName(server.Handler(i.mirror), git, api.New(account, vpc))
	group.Go(func() error { return serveHTTP(ctx, listener, handler) })
	return nil
}

// certificate issues a certificate for the server name that a client requests. A client that connects to an address
// requests none.
func (i internet) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	host := cmp.Or(hello.ServerName, i.address)
	if host != i.address && !served(host) {
		return nil, fmt.Errorf("nothing is served as %q", host)
	}
	certificate, err := i.authority.Issue(host)
	return &certificate, err
}

func (i internet) byName(mirror, git, api http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		switch {
		case host == i.address:
			mirror.ServeHTTP(w, r)
		case host == gitserver.Host:
			git.ServeHTTP(w, r)
		case amazon.MatchString(host):
			api.ServeHTTP(w, r)
		default:
			http.Error(w, "nothing is served as "+host, http.StatusMisdirectedRequest)
		}
	})
}

func serveHTTP(ctx context.Context, listener net.Listener, handler http.Handler) error {
	web := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	defer context.AfterFunc(ctx, func() { _ = web.Close() })() // clients repeat interrupted downloads
	if err := web.Serve(listener); ctx.Err() == nil {
		return fmt.Errorf("serving the internet at %s: %w", listener.Addr(), err)
	}
	return nil
}
