// Command pulumi-language-go lets the engine run Go programs where the official language host is not
// installed. It can run and build programs; it generates no code and writes no projects.
package main

import (
	"errors"
	"fmt"
	"os"

	"eco2/rehearsal/language"
	"eco2/rehearsal/plugin"
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
	// The engine puts its own address last, after options that this host takes from each call instead.
	engine := os.Args[len(os.Args)-1]
	host := language.NewHost(engine, os.Stdout, os.Stderr)
	// Serve returns before the programs that were cut off have ended; they must not outlive their host.
	defer host.Close()
	return plugin.Serve(engine, host.Register)
}
