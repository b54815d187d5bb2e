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

// impatience is how long a target may take that may well be filtered. A handshake that is lost is sent again
// after one second.
const impatience = 3 * time.Second

// try prints a line for each target, in their order:
//
//	open      a connection was made, or a name server answered
//	refused   the target's host said that nothing listens there: packets get through
//	filtered  nothing came back
//	error: …  anything else
func try(ctx context.Context, out io.Writer, targets []string) error {
	return each(out, targets, func(target string) string {
		ctx, cancel := context.WithTimeout(ctx, impatience)
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
	case "dns": // over UDP; any answer will do
		client := dns.Client{Timeout: impatience}
		_, _, err := client.ExchangeContext(ctx, new(dns.Msg).SetQuestion("kubernetes.default.svc.cluster.local.", dns.TypeA), address)
		return err
	default:
		return fmt.Errorf("%q is neither tcp:HOST:PORT nor dns:HOST:PORT", target)
	}
}
