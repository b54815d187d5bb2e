// Command pulumi-language-go lets the engine run Go programs if the official language host is not installed. It can run
// and build programs, but neither generates code nor creates projects.
package main

import (
	"errors"
	"fmt"
	"os"

	"eco2/rehearsal/engine/golang"
	"eco2/rehearsal/engine/plugin"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) < 2 {
		return errors.New("usage: pulumi-language-go [OPTION…] ENGINE-ADDRESS; the engine starts it")
	}
	// The engine passes its address as the last argument, after options that this host gets with each call instead.
	engine := os.Args[len(os.Args)-1]
	host := golang.NewHost(engine, os.Stdout, os.Stderr)
	// Serve may return while interrupted programs still run. Close waits for them, so that they do not outlive their
	// host.
	defer host.Close()
	return plugin.Serve(engine, host.Register)
}
