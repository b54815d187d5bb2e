package balancer

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"time"

	"eco2/rehearsal/cloud/aws"
)

// connectTimeout is the timeout of connections to targets. AWS's is ten seconds.
const connectTimeout = 3 * time.Second

// endpoint serves a port of a load balancer on one of its addresses.
type endpoint struct {
	*balancer
	address   netip.Addr
	port      int
	server    *http.Server
	transport *http.Transport
}

func (b *balancer) open(key endpointKey) (*endpoint, error) {
	listener, err := net.Listen("tcp4", key.String())
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	d := &endpoint{balancer: b, address: key.Addr(), port: int(key.Port()), transport: b.transport(key.Addr())}
	d.server = &http.Server{
		Handler: d, ReadHeaderTimeout: 10 * time.Second, ErrorLog: b.vpc.Log,
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS10, GetConfigForClient: d.tls},
	}
	filtered := &filteredListener{Listener: listener, endpoint: d}
	go func() { // until close
		if key.protocol == "HTTPS" {
			_ = d.server.ServeTLS(filtered, "", "")
		} else {
			_ = d.server.Serve(filtered)
		}
	}()
	return d, nil
}

// tls returns a configuration with the TLS versions of the listener's security policy, which may have changed since the
// endpoint was opened.
func (d *endpoint) tls(*tls.ClientHelloInfo) (*tls.Config, error) {
	oldest := uint16(tls.VersionTLS10)
	for _, l := range d.current.Load().Listeners {
		if version := aws.MinimumTLS[l.SSLPolicy]; l.Port == d.port && version > oldest {
			oldest = version
		}
	}
	return &tls.Config{MinVersion: oldest, GetCertificate: d.certificate, NextProtos: []string{"h2", "http/1.1"}}, nil
}

func (d *endpoint) close() error { return d.server.Close() }

// certificate returns the first certificate that is valid for the name that a client requests, or else the first of
// all.
func (b *balancer) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	issued := b.current.Load().issued
	for i := range issued {
		if hello.SupportsCertificate(&issued[i]) == nil {
			return &issued[i], nil
		}
	}
	if len(issued) == 0 {
		return nil, fmt.Errorf("the load balancer has no issued certificate")
	}
	return &issued[0], nil
}

// filteredListener closes connections that the load balancer's security groups do not allow.
type filteredListener struct {
	net.Listener
	endpoint *endpoint
}

func (a *filteredListener) Accept() (net.Conn, error) {
	for {
		conn, err := a.Listener.Accept()
		if err != nil {
			return nil, err
		}
		peer, _ := netip.ParseAddrPort(conn.RemoteAddr().String())
		err = a.endpoint.allows(aws.Ingress, a.endpoint.address, a.endpoint.port, peer.Addr())
		if err == nil {
			return conn, nil
		}
		a.endpoint.vpc.Log.Printf("load balancer %s: closing the connection from %s: %s", a.endpoint.current.Load().Name, peer.Addr(), err)
		_ = conn.Close() // nothing was read or written
	}
}

// allows returns an error unless the current security groups of the load balancer's interface at an address allow a
// connection.
func (b *balancer) allows(d aws.Direction, address netip.Addr, port int, peer netip.Addr) error {
	i, ok := b.current.Load().interfaces[address]
	if !ok {
		return fmt.Errorf("the load balancer has no interface at %s", address)
	}
	allowed, err := b.vpc.Account.AllowsInterface(d, i, port, peer)
	if err == nil && !allowed {
		err = fmt.Errorf("its security groups do not allow %s traffic on port %d with %s: %w", d, port, peer, os.ErrDeadlineExceeded)
	}
	return err
}

// transport returns a transport that connects to targets from one of the load balancer's addresses.
func (b *balancer) transport(address netip.Addr) *http.Transport {
	dialer := &net.Dialer{Timeout: connectTimeout, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(address, 0))}
	return &http.Transport{
		DisableKeepAlives: true, DisableCompression: true,
		// AWS's load balancers do not verify the certificates of targets either.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // see above
		DialContext: func(ctx context.Context, network, to string) (net.Conn, error) {
			peer, err := netip.ParseAddrPort(to)
			if err != nil {
				return nil, err
			}
			if err := b.allows(aws.Egress, address, int(peer.Port()), peer.Addr()); err != nil {
				return nil, err
			}
			return dialer.DialContext(ctx, network, to)
		},
	}
}
