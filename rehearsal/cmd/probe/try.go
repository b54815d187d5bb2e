package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/miekg/dns"
)

// tryTimeout bounds how long try waits for a target, which is likely to be filtered. It is longer than the second after
// which a lost SYN is sent again.
const tryTimeout = 3 * time.Second

// try prints a line for each target, in the given order:
//
//	open      a connection was established, or a name server answered
//	refused   the target's host answered that nothing listens there, so packets pass
//	filtered  there was no answer
//	error: …  anything else
func try(ctx context.Context, out io.Writer, targets []string) error {
	return each(out, targets, func(target string) string {
		ctx, cancel := context.WithTimeout(ctx, tryTimeout)
		defer cancel()
		err := reach(ctx, target)
		var late net.Error
		switch {
		case err == nil:
			return "open"
		case errors.Is(err, syscall.ECONNREFUSED):
			return "refused"
		case errors.As(err, &late) && late.Timeout():
			return "filtered"
		default:
			return "error: " + err.Error()
		}
	})
}

func reach(ctx context.Context, target string) error {
	protocol, address, _ := strings.Cut(target, ":")
	switch protocol {
	case "tcp":
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return conn.Close()
	case "dns": // over UDP; any answer counts
		client := dns.Client{Timeout: tryTimeout}
		_, _, err := client.ExchangeContext(ctx, new(dns.Msg).SetQuestion("kubernetes.default.svc.cluster.local.", dns.TypeA), address)
		return err
	default:
		return fmt.Errorf("%q is neither tcp:HOST:PORT nor dns:HOST:PORT", target)
	}
}
