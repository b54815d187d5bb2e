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

// Script describes a run of a file in scripts/ on the control plane.
//
// The scripts are installed on the control plane, because some run once for each node: this way the state contains each
// script's text once, and a preview shows its change once. Only the script that installs them is sent on standard
// input. Inputs are arguments of the command, except secrets, which are sent on standard input: a command line appears
// in the message of a failing command and is visible to every user of the machine.
type Script struct {
	// Name is the file's name without .sh.
	Name string
	// Args holds the script's arguments.
	Args []pulumi.StringInput
	// Relays is, for the script relay, the name of the script that it runs on a worker.
	Relays string
	// Data is the script's standard input. It is nil if the script reads nothing.
	Data pulumi.StringInput
	// Minutes is the time limit of a run. Each script has its own time limits; this one is for a connection that breaks
	// unnoticed, because it has no keep-alive.
	Minutes int
	// Triggers holds the machines that a run applies to. If one of them is replaced, the command is replaced and the
	// script runs again: a new machine needs it even if it has the old one's address.
	Triggers []*infra.Node
	// UpdateTrigger is the id of a machine. If it changes, the command is only updated: the script runs again, but unlike
	// with Triggers the command is not replaced, so its delete script does not run.
	UpdateTrigger pulumi.StringInput
	// Secret hides the output in the display and encrypts it in the state. It does not hide it in the error of a run
	// that fails; a script with a secret result must encrypt it: see decrypt.
	Secret bool
}

// installDir is the directory in which install.sh installs the scripts. It must equal SCRIPTS in lib.sh.
const installDir = "/usr/local/lib/eco2/"

// Flag returns the two arguments of a flag, --name and its value, for Script.Args.
func Flag(name string, value pulumi.StringInput) []pulumi.StringInput {
	return []pulumi.StringInput{pulumi.String("--" + name), value}
}

// joinArgs concatenates lists of arguments, such as flags.
func joinArgs(lists ...[]pulumi.StringInput) []pulumi.StringInput {
	var all []pulumi.StringInput
	for _, list := range lists {
		all = append(all, list...)
	}
	return all
}

// source returns the content of a file in scripts/. name is without .sh.
func source(name string) (string, error) {
	content, err := files.ReadFile("scripts/" + name + ".sh")
	if err != nil {
		return "", fmt.Errorf("reading script %s: %w", name, err)
	}
	return string(content), nil
}

// text returns the library followed by the script: the complete text for `bash -s` or an installed file.
func (s Script) text() (string, error) {
	library, err := source("lib")
	if err != nil {
		return "", err
	}
	own, err := source(s.Name)
	return library + own, err
}

// installInput returns the standard input of install.sh: the library and all scripts to install.
func installInput() (string, error) {
	var all strings.Builder
	entries, err := files.ReadDir("scripts")
	if err != nil {
		return "", fmt.Errorf("listing the scripts: %w", err)
	}
	for _, entry := range entries {
		name := strings.TrimSuffix(entry.Name(), ".sh")
		if name == "install" {
			continue // it is sent on standard input
		}
		text, err := source(name)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&all, "=== %s.sh ===\n%s", name, text)
	}
	return all.String(), nil
}

// label returns the comment at the end of the command. It contains the name and a hash of each script, so that a
// changed script runs again and that an error or a preview shows which scripts a command runs.
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

// command returns the command line for the machine's shell. isInstalled says whether the scripts are installed there.
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
	if s.UpdateTrigger != nil {
		return pulumi.Sprintf("%s on %s", line, s.UpdateTrigger), nil
	}
	return line, nil
}

// stdin returns the command's standard input: the script, unless it is installed on the machine, and the script's data.
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

// plain matches values that a shell takes literally.
var plain = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// quote quotes a value as one word for a POSIX shell.
func quote(value string) string {
	if plain.MatchString(value) {
		return value
	}
	return "'" + strings.ReplaceAll(value, "'", `'\''`) + "'"
}

// manifest reads a file in manifests/ and replaces each ${NAME} by its value. It fails if a value has no placeholder or
// a placeholder no value.
func manifest(path string, values map[string]string) (string, error) {
	content, err := files.ReadFile("manifests/" + path)
	if err != nil {
		return "", fmt.Errorf("reading manifest %s: %w", path, err)
	}
	text := string(content)
	for name, value := range values {
		if !strings.Contains(text, "${"+name+"}") {
			return "", fmt.Errorf("rendering manifest %s: it has no placeholder ${%s}", path, name)
		}
		text = strings.ReplaceAll(text, "${"+name+"}", value)
	}
	if i := strings.Index(text, "${"); i >= 0 {
		return "", fmt.Errorf("rendering manifest %s: there is no value for %.30s", path, text[i:])
	}
	return text, nil
}
