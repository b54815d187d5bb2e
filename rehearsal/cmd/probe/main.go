// Command probe runs in pods of the tests. It answers requests with the name of its node, asks other probes for theirs,
// and tries what can be reached from its pod. Its output shows pairs of nodes that cannot reach each other, and the
// effect of network policies. The stand-in for Grafana also runs it, to answer probes.
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

	"golang.org/x/sync/errgroup"
)

// port is the port on which a probe answers.
const port = "8080"

// answerTimeout bounds how long one answer may take: a packet that is dropped is not answered at all.
const answerTimeout = 5 * time.Second

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
	case len(args) > 0 && args[0] == "serve":
		return serve(ctx, os.Getenv("NODE"), append([]string{port}, args[1:]...))
	case len(args) > 1 && args[0] == "ask":
		return ask(ctx, os.Stdout, args[1:])
	case len(args) > 1 && args[0] == "try":
		return try(ctx, os.Stdout, args[1:])
	case len(args) == 1 && args[0] == "burn":
		for ctx.Err() == nil { // use CPU time, so that an autoscaler adds pods
		}
		return nil
	default:
		return errors.New("usage: probe serve [PORT…], which answers on 8080 and these ports with the value of the variable NODE, " +
			"and requests for /try?target=TARGET&… with what probe try prints; " +
			"probe ask HOST…; probe burn, which uses CPU time; or probe try TARGET…, where a TARGET is tcp:HOST:PORT, dns:HOST:PORT, outside:HOST:PORT or token:HOST:PORT")
	}
}

// serve answers on all ports. It returns an error if it cannot listen on one of them.
func serve(ctx context.Context, node string, ports []string) error {
	group, ctx := errgroup.WithContext(ctx)
	handler := answers(node)
	for _, port := range ports {
		server := &http.Server{Addr: ":" + port, ReadHeaderTimeout: answerTimeout, Handler: handler}
		context.AfterFunc(ctx, func() { _ = server.Close() })
		group.Go(func() error {
			if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		})
	}
	return group.Wait()
}

// answers returns the handler of requests: for /try it tries the targets of the query, for all else it answers with the
// node's name. An error of a write means that the client is gone.
func answers(node string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, node) })
	mux.HandleFunc("/try", func(w http.ResponseWriter, r *http.Request) { _ = try(r.Context(), w, r.URL.Query()["target"]) })
	return mux
}

// ask prints a line for each host, in the given order: the host, and the node that answered or the error.
func ask(ctx context.Context, out io.Writer, hosts []string) error {
	return each(out, hosts, func(host string) string {
		node, err := get(ctx, host)
		if err != nil {
			return "error: " + err.Error()
		}
		return node
	})
}

// each prints a line for each subject, in the given order: the subject and its result. It examines all concurrently.
func each(out io.Writer, subjects []string, examine func(string) string) error {
	answers := make([]string, len(subjects))
	var group sync.WaitGroup
	for i, subject := range subjects {
		group.Go(func() { answers[i] = subject + " " + examine(subject) })
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
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
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
