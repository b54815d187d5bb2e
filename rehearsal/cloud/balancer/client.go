package balancer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"

	"eco2/rehearsal/cloud/aws"
)

// Client returns an HTTP client that behaves like one outside the VPC: it resolves names in the hosted zone, and trusts
// only the authority whose certificate is given as PEM. It connects from the given address of this host, or from any if
// that is not valid.
func Client(account *aws.Account, authority string, from netip.Addr) (*http.Client, error) {
	trusted := x509.NewCertPool()
	if !trusted.AppendCertsFromPEM([]byte(authority)) {
		return nil, errors.New("making a client for load balancers: the authority is not a PEM certificate")
	}
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	if from.IsValid() {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	}
	dial := func(ctx context.Context, network, to string) (net.Conn, error) {
		name, port, err := net.SplitHostPort(to)
		if err != nil {
			return nil, err
		}
		addresses, _, err := Resolve(account, name)
		if err != nil {
			return nil, err
		}
		errs := []error{fmt.Errorf("cannot connect to %s, which has %d addresses", name, len(addresses))}
		for _, address := range addresses {
			conn, err := dialer.DialContext(ctx, network, net.JoinHostPort(address.String(), port))
			if err == nil {
				return conn, nil
			}
			errs = append(errs, err)
		}
		return nil, errors.Join(errs...)
	}
	return &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DialContext: dial, TLSClientConfig: &tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2: true, DisableKeepAlives: true,
	}}, nil
}
