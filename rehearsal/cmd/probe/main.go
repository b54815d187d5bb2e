// Command probe is what the tests run in a pod on every node: it answers with the name of its node, and asks
// others for theirs. A pair of nodes that cannot reach each other shows in what it prints.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// port is where a probe answers.
const port = "8080"

// patience is how long one answer may take: a packet that is dropped is not answered at all.
const patience = 5 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 1 && args[0] == "serve":
		return serve(ctx, os.Getenv("NODE"))
	case len(args) > 1 && args[0] == "ask":
		return ask(ctx, os.Stdout, args[1:])
	default:
		return errors.New("usage: probe serve, which answers with the environment's NODE; or probe ask HOST…")
	}
}

func serve(ctx context.Context, node string) error {
	server := &http.Server{Addr: ":" + port, ReadHeaderTimeout: patience, Handler: http.HandlerFunc(
		func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, node) }, // an asker that is gone
	)}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// ask prints a line for each host, in their order: the host and the node that answered, or the error.
func ask(ctx context.Context, out io.Writer, hosts []string) error {
	answers := make([]string, len(hosts))
	var group sync.WaitGroup
	for i, host := range hosts {
		group.Go(func() {
			node, err := get(ctx, host)
			if err != nil {
				node = "error: " + err.Error()
			}
			answers[i] = host + " " + node
		})
	}
	group.Wait()
	for _, answer := range answers {
		if _, err := fmt.Fprintln(out, answer); err != nil {
			return err
		}
	}
	return nil
}

func get(ctx context.Context, host string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port), nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }() // it was only read
	body, err := io.ReadAll(io.LimitReader(response.Body, 256))
	return string(body), err
}
