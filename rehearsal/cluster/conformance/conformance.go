// Package conformance runs upstream's own tests of a cluster, e2e.test of k8s.io/kubernetes, against a rehearsal's: the
// Conformance tests and those of network policies.
//
// All of it is built from the module of the version that the cluster runs: the tests, and the programs in the images
// that their pods ask for. What else those images hold is Debian's.
package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"eco2/rehearsal/supply/mirror"
)

const (
	// project is the module below rehearsal/supply/mirror/build that the tests are built from.
	project = "kubernetes-e2e"
	version = "v1.36.5"
)

// Tests are the binaries that run upstream's tests.
type Tests struct{ e2e, ginkgo string }

// AddImages builds what is missing and has the mirror serve the images that the tests' pods ask for. A cluster that is up
// finds them at once. repo is the project's checkout, and progress goes to out.
func AddImages(ctx context.Context, m mirror.Mirror, repo string, out io.Writer) (Tests, error) {
	built, err := mirror.BuildProject(ctx, repo, project, version, out)
	if err != nil {
		return Tests{}, err
	}
	coreDNS, err := mirror.Find(repo, "coredns")
	if err != nil {
		return Tests{}, err
	}
	source, err := built.Source(ctx)
	if err != nil {
		return Tests{}, err
	}
	all, err := images(built.Binary, coreDNS.Binary("coredns"), source)
	if err != nil {
		return Tests{}, err
	}
	return testsOf(built), addImages(ctx, m, all, out)
}

// addImages has the mirror serve the images. Those of the same description are there already, which saves half a minute
// of packing.
func addImages(ctx context.Context, m mirror.Mirror, all []mirror.Image, out io.Writer) error {
	description, err := json.Marshal(all)
	if err != nil {
		return err
	}
	served := filepath.Join(m.Dir, "conformance.json")
	if before, err := os.ReadFile(served); err == nil && bytes.Equal(before, description) {
		return nil
	}
	for _, image := range all {
		if err := m.AddImage(ctx, image, out); err != nil {
			return err
		}
	}
	if err := os.WriteFile(served, description, 0o644); err != nil { //nolint:gosec // it is no secret
		return fmt.Errorf("noting which images the mirror serves: %w", err)
	}
	return nil
}

// Find finds what AddImages has built.
func Find(repo string) (Tests, error) {
	built, err := mirror.Find(repo, project)
	return testsOf(built), err
}

func testsOf(built mirror.Built) Tests {
	return Tests{e2e: built.Binary("e2e.test"), ginkgo: built.Binary("ginkgo")}
}

// listed is a line of the list of tests.
var listed = regexp.MustCompile(`^\s+\S+\.go:\d+: (.+?)\s*$`)

// Names are the full names of all tests in the binary.
func (t Tests) Names(ctx context.Context) ([]string, error) {
	output, err := t.output(ctx, "--list-tests")
	if err != nil {
		return nil, fmt.Errorf("listing the tests: %w", err)
	}
	var names []string
	for line := range strings.Lines(output) {
		// Before each is where it is in the source: "some/file.go:12: ".
		if found := listed.FindStringSubmatch(line); found != nil {
			names = append(names, found[1])
		}
	}
	if len(names) == 0 {
		return nil, errors.New("listing the tests: e2e.test --list-tests does not print them as file.go:12: name any more")
	}
	return names, nil
}

// imageNames are the images that any test in the binary may ask for.
func (t Tests) imageNames(ctx context.Context) ([]string, error) {
	output, err := t.output(ctx, "--list-images")
	return strings.Fields(output), err
}

func (t Tests) output(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, t.e2e, args...)
	var problems bytes.Buffer
	cmd.Stderr = &problems
	output, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("e2e.test %s: %w\n%s", strings.Join(args, " "), err, problems.String())
	}
	return string(output), nil
}
