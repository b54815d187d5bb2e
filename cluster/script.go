package cluster

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"eco2/infra"
)

//go:embed scripts/*.sh manifests
var files embed.FS

// Script is one run of a file in scripts/, on the control plane.
//
// The control plane has the scripts installed, some of which run once for each node: the state holds each text
// once and a preview shows its change once. Only what installs them travels on standard input. Inputs are the
// command's arguments, and secrets are on standard input: in a command line, a failing command's message and
// every user of the machine could read them.
type Script struct {
	// Name is the file's, without .sh.
	Name string
	// Args follow the script's name as they are.
	Args []pulumi.StringInput
	// Relays is the name of the script that this one, relay, runs on a worker.
	Relays string
	// Data is what the script reads from standard input. Nil where it reads nothing.
	Data pulumi.StringInput
	// Minutes bound a run. Each script bounds itself; this bounds the connection to it, which has no
	// keep-alive of its own.
	Minutes int
	// For are the machines that a run is for: when one of them is another, the script runs again. What was
	// done on an old machine is not done on a new one, even if that has the old one's address.
	For []*infra.Node
	// On is the id of a machine that only has the script run again when it is another, where For would replace the
	// command and so run its delete too.
	On pulumi.StringInput
	// Secret keeps the output out of the display and encrypted in the state. It does not keep it out of the error
	// of a run that fails: see unseal.
	Secret bool
}

// installDir is where install.sh puts the scripts: SCRIPTS in lib.sh.
const installDir = "/usr/local/lib/eco2/"

// Flag is --name value, as Args.
func Flag(name string, value pulumi.StringInput) []pulumi.StringInput {
	return []pulumi.StringInput{pulumi.String("--" + name), value}
}

// flags joins flags and arguments to one list.
func flags(lists ...[]pulumi.StringInput) []pulumi.StringInput {
	var all []pulumi.StringInput
	for _, list := range lists {
		all = append(all, list...)
	}
	return all
}

// source is a file of scripts/ as it is.
func source(name string) (string, error) {
	content, err := files.ReadFile("scripts/" + name + ".sh")
	if err != nil {
		return "", fmt.Errorf("reading script %s: %w", name, err)
	}
	return string(content), nil
}

// text is the script with the library before it, complete for `bash -s` and as a file.
func (s Script) text() (string, error) {
	library, err := source("lib")
	if err != nil {
		return "", err
	}
	own, err := source(s.Name)
	return library + own, err
}

// installed are the library and the scripts for the control plane's directory, in the form that install.sh reads.
func installed() (string, error) {
	var all strings.Builder
	entries, err := files.ReadDir("scripts")
	if err != nil {
		return "", fmt.Errorf("listing the scripts: %w", err)
	}
	for _, entry := range entries {
		name := strings.TrimSuffix(entry.Name(), ".sh")
		if name == "install" {
			continue // it travels
		}
		text, err := source(name)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&all, "=== %s.sh ===\n%s", name, text)
	}
	return all.String(), nil
}

// label is the comment at the command's end. It names each script and what was in it: it is what makes a changed
// script run again, and what people read in an error or a preview.
func (s Script) label() (string, error) {
	label := "#"
	for _, name := range []string{s.Name, s.Relays} {
		if name == "" {
			continue
		}
		text, err := Script{Name: name}.text()
		if err != nil {
			return "", err
		}
		hash := sha256.Sum256([]byte(text))
		label += fmt.Sprintf(" %s.sh@%s", name, hex.EncodeToString(hash[:4]))
	}
	return label, nil
}

// command is the line that the machine's shell runs.
func (s Script) command(isInstalled bool) (pulumi.StringOutput, error) {
	label, err := s.label()
	if err != nil {
		return pulumi.StringOutput{}, err
	}
	start := "sudo bash -s --"
	if isInstalled {
		start = "sudo bash " + installDir + s.Name + ".sh"
	}
	var args pulumi.StringArray
	args = append(args, s.Args...)
	line := args.ToStringArrayOutput().ApplyT(func(args []string) string {
		line := []string{start}
		for _, arg := range args {
			line = append(line, quote(arg))
		}
		return strings.Join(append(line, label), " ")
	}).(pulumi.StringOutput)
	if s.On != nil {
		return pulumi.Sprintf("%s on %s", line, s.On), nil
	}
	return line, nil
}

// stdin is what the command reads: the script, unless the machine has it, and the script's data.
func (s Script) stdin(isInstalled bool) (pulumi.StringPtrInput, error) {
	if isInstalled {
		if s.Data == nil {
			return nil, nil
		}
		return s.Data.ToStringOutput().ToStringPtrOutput(), nil
	}
	text, err := s.text()
	if err != nil {
		return nil, err
	}
	if s.Data == nil {
		return pulumi.String(text), nil
	}
	return pulumi.Sprintf("%s%s", text, s.Data).ToStringPtrOutput(), nil
}

var plain = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// quote makes a value one word for a POSIX shell.
func quote(value string) string {
	if plain.MatchString(value) {
		return value
	}
	return "'" + strings.ReplaceAll(value, "'", `'\''`) + "'"
}

// manifest reads a file of manifests/ and puts values in the place of their ${NAME}.
func manifest(path string, values map[string]string) (string, error) {
	content, err := files.ReadFile("manifests/" + path)
	if err != nil {
		return "", fmt.Errorf("reading manifest %s: %w", path, err)
	}
	text := string(content)
	for name, value := range values {
		if !strings.Contains(text, "${"+name+"}") {
			return "", fmt.Errorf("rendering manifest %s: it has no place for %s", path, name)
		}
		text = strings.ReplaceAll(text, "${"+name+"}", value)
	}
	if i := strings.Index(text, "${"); i >= 0 {
		return "", fmt.Errorf("rendering manifest %s: nothing fills %.30s", path, text[i:])
	}
	return text, nil
}
