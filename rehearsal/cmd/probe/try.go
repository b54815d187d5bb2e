package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
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
//	open      a connection was established, or a server answered
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
		_, err := query(ctx, address, "kubernetes.default.svc.cluster.local.")
		return err
	case "outside": // a name that no server in the cluster knows; any answer of the server behind it counts
		answer, err := query(ctx, address, rand.Text()+".example.") // another name each time, because answers are cached
		if err == nil && answer.Rcode == dns.RcodeServerFailure {
			return fmt.Errorf("asking the next server: %w", os.ErrDeadlineExceeded)
		}
		return err
	case "token": // of the instance metadata service, whose hop limit applies to this answer; any answer counts
		request, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://"+address+"/latest/api/token", nil)
		if err != nil {
			return err
		}
		request.Close = true // a policy does not apply to the packets of a connection that exists already
		request.Header.Set("X-aws-ec2-metadata-token-ttl-seconds", "60")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		return response.Body.Close()
	default:
		return fmt.Errorf("%q is none of tcp:HOST:PORT, dns:HOST:PORT, outside:HOST:PORT and token:HOST:PORT", target)
	}
}

func query(ctx context.Context, server, name string) (*dns.Msg, error) {
	client := dns.Client{Timeout: tryTimeout}
	answer, _, err := client.ExchangeContext(ctx, new(dns.Msg).SetQuestion(name, dns.TypeA), server)
	return answer, err
}
