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

	"eco2/rehearsal/aws"
)

// connectTimeout is for connections to targets. AWS waits ten seconds.
const connectTimeout = 3 * time.Second

// door is a port of a load balancer on one of its addresses.
type door struct {
	*balancer
	address   netip.Addr
	port      int
	server    *http.Server
	transport *http.Transport
}

func (b *balancer) open(key doorKey) (*door, error) {
	listener, err := net.Listen("tcp4", key.String())
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	d := &door{balancer: b, address: key.Addr(), port: int(key.Port()), transport: b.transport(key.Addr())}
	d.server = &http.Server{
		Handler: d, ReadHeaderTimeout: 10 * time.Second, ErrorLog: b.vpc.Log,
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS10, GetConfigForClient: d.tls},
	}
	admitted := &admission{Listener: listener, door: d}
	go func() { // until close
		if key.protocol == "HTTPS" {
			_ = d.server.ServeTLS(admitted, "", "")
		} else {
			_ = d.server.Serve(admitted)
		}
	}()
	return d, nil
}

// tls speaks the versions of the listener's policy, which may have changed since the door was opened.
func (d *door) tls(*tls.ClientHelloInfo) (*tls.Config, error) {
	oldest := uint16(tls.VersionTLS10)
	for _, l := range d.now.Load().Listeners {
		if version := aws.MinimumTLS[l.SSLPolicy]; l.Port == d.port && version > oldest {
			oldest = version
		}
	}
	return &tls.Config{MinVersion: oldest, GetCertificate: d.certificate, NextProtos: []string{"h2", "http/1.1"}}, nil
}

func (d *door) close() error { return d.server.Close() }

// certificate is the first one that is good for the name that a client asks for, or the first of all.
func (b *balancer) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	issued := b.now.Load().issued
	for i := range issued {
		if hello.SupportsCertificate(&issued[i]) == nil {
			return &issued[i], nil
		}
	}
	if len(issued) == 0 {
		return nil, fmt.Errorf("the load balancer has no certificate that is issued")
	}
	return &issued[0], nil
}

// admission hangs up on whom the load balancer's security groups do not let in.
type admission struct {
	net.Listener
	door *door
}

func (a *admission) Accept() (net.Conn, error) {
	for {
		conn, err := a.Listener.Accept()
		if err != nil {
			return nil, err
		}
		peer, _ := netip.ParseAddrPort(conn.RemoteAddr().String())
		err = a.door.allows(aws.Ingress, a.door.address, a.door.port, peer.Addr())
		if err == nil {
			return conn, nil
		}
		a.door.vpc.Log.Printf("load balancer %s: hanging up on %s: %s", a.door.now.Load().Name, peer.Addr(), err)
		_ = conn.Close() // it is nobody's
	}
}

// allows judges a connection by the groups that one of the load balancer's interfaces has now.
func (b *balancer) allows(d aws.Direction, address netip.Addr, port int, peer netip.Addr) error {
	i, ok := b.now.Load().interfaces[address]
	if !ok {
		return fmt.Errorf("the load balancer has no interface at %s", address)
	}
	allowed, err := b.vpc.Account.AllowsInterface(d, i, port, peer)
	if err == nil && !allowed {
		err = fmt.Errorf("its security groups have no %s rule for port %d and %s: %w", d, port, peer, os.ErrDeadlineExceeded)
	}
	return err
}

// transport reaches targets from one of the load balancer's addresses.
func (b *balancer) transport(address netip.Addr) *http.Transport {
	dialer := &net.Dialer{Timeout: connectTimeout, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(address, 0))}
	return &http.Transport{
		DisableKeepAlives: true, DisableCompression: true,
		// A load balancer of AWS's verifies no target's certificate either.
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
