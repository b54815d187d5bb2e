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

	"eco2/rehearsal/aws"
)

// Client asks as somebody outside the VPC would: by the names in the hosted zone, and trusting only an authority,
// whose certificate is given as PEM. It comes from an address of this host's, or from any if that is not valid.
func Client(account *aws.Account, authority string, from netip.Addr) (*http.Client, error) {
	trusted := x509.NewCertPool()
	if !trusted.AppendCertsFromPEM([]byte(authority)) {
		return nil, errors.New("asking load balancers: the authority is no certificate in PEM")
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
		errs := []error{fmt.Errorf("nobody answers for %s: it has %d addresses", name, len(addresses))}
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
