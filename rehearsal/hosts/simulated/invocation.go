package simulated

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"eco2/rehearsal/hosts/remote"
)

// invocation is one run of a script.
//
// The program either sends lib.sh, the script and its data on the standard input of
// `sudo bash -s -- ARG… # NAME.sh@HASH`, or runs a script that install.sh has installed, with
// `sudo bash /usr/local/lib/eco2/NAME.sh ARG… # NAME.sh@HASH`; then standard input contains only data. If a script runs
// another one on a worker, that one's NAME.sh@HASH follows its own. The command may end with the id of the machine on
// which it must run: `on ID`.
type invocation struct {
	// script is the script's name without .sh.
	script string
	args   []string
	// flags holds the arguments of a script that takes only --name value.
	flags map[string]string
	// text is the script's text, and data its standard input.
	text, data string
}

var (
	label = regexp.MustCompile(`^sudo bash (-s --|/usr/local/lib/eco2/([a-z-]+)\.sh)(.*)# ((?:[a-z-]+\.sh@[0-9a-f]+ ?)+?)(?: on (i-[0-9a-f]+))?$`)
	// fileLine matches the line before each file in the data of a script that reads several.
	fileLine = regexp.MustCompile(`(?m)^=== ([a-z-]+\.(?:sh|yaml)) ===\n`)
	// lastLine matches the last line of every script. What follows is data, which bash does not read as commands.
	lastLine = regexp.MustCompile(`(?m)^main "\$@"; exit\n`)
	// flagsLine matches the line in which a script declares its flags.
	flagsLine = regexp.MustCompile(`(?m)^\s*flags ([a-z0-9 -]+) -- "\$(?:@|\{own\[@\]\})"$`)
)

// parse parses a session as an invocation. It fails where bash, or the script when it parses its arguments, would fail.
// installed holds the texts of the scripts on the machine, by name.
func parse(session remote.Session, machineID string, installed map[string]string) (invocation, error) {
	parts := label.FindStringSubmatch(session.Command)
	if parts == nil {
		return invocation{}, &failure{127, "the simulated host runs only the program's scripts: " +
			"sudo bash -s -- ARG… # NAME.sh@HASH, or sudo bash /usr/local/lib/eco2/NAME.sh ARG… # NAME.sh@HASH"}
	}
	file, args, hashes, on := parts[2], parts[3], hashesOf(parts[4]), parts[5]
	run := invocation{script: hashes[0].script, flags: map[string]string{}}
	if on != "" && on != machineID {
		return run, die("the command is for machine %s, but this is %s", on, machineID)
	}
	if _, known := effects[run.script]; !known {
		return run, &failure{127, run.script + ".sh: the simulated host does not know this script"}
	}
	var err error
	if run.args, err = words(args); err != nil {
		return run, err
	}
	text := ""
	if file != "" {
		present := false
		if text, present = installed[file]; !present || file != run.script {
			return run, &failure{127, "bash: /usr/local/lib/eco2/" + file + ".sh: No such file or directory"}
		}
		// The delete command in the state may have been written by an earlier version of the program.
		onDelete := file == "leave" || file == "sweep"
		for _, expected := range hashes {
			sum := sha256.Sum256([]byte(installed[expected.script]))
			if !onDelete && !strings.HasPrefix(hex.EncodeToString(sum[:]), expected.hash) {
				return run, die("the installed %s.sh is not the one that the program expects (%s): install.sh did not run first", expected.script, expected.hash)
			}
		}
		run.data = session.Stdin
	} else {
		end := lastLine.FindStringIndex(session.Stdin)
		if end == nil {
			return run, &failure{2, run.script + `.sh: standard input contains no script that ends with the line: main "$@"; exit`}
		}
		text, run.data = session.Stdin[:end[1]], session.Stdin[end[1]:]
	}
	run.text = text
	if err := checkSyntax(text); err != nil {
		return run, err
	}
	return run, run.readFlags()
}

// scriptHash is a script's name and the hash of the text that the program expects.
type scriptHash struct{ script, hash string }

// hashesOf parses the NAME.sh@HASH in a command's label.
func hashesOf(label string) (all []scriptHash) {
	for _, one := range strings.Fields(label) {
		script, hash, _ := strings.Cut(one, ".sh@")
		all = append(all, scriptHash{script, hash})
	}
	return all
}

// readFlags parses the arguments of a script that declares flags. Arguments after -- belong to another script.
func (i *invocation) readFlags() error {
	declared := flagsLine.FindStringSubmatch(i.text)
	if declared == nil {
		return nil
	}
	own := i.args
	if at := slices.Index(i.args, "--"); at >= 0 {
		own, i.args = i.args[:at], i.args[at+1:]
	}
	return i.parseFlags(own, strings.Fields(declared[1]))
}

// effective returns the name of the script that does the work: for relay, the one that it runs on a worker.
func (i invocation) effective() string { return cmp.Or(i.flags["script"], i.script) }

// optional reports whether a flag has a default, because the script sets its variable before it parses its flags.
func (i *invocation) optional(flag string) bool {
	variable := strings.ReplaceAll(flag, "-", "_")
	return regexp.MustCompile(`(?m)^\s*local (.* )?` + variable + `=`).MatchString(i.text)
}

func (i *invocation) parseFlags(args, missing []string) error {
	for rest := args; len(rest) > 0; rest = rest[2:] {
		name := strings.TrimPrefix(rest[0], "--")
		at := slices.Index(missing, name)
		if at < 0 || name == rest[0] {
			return die("unexpected argument %s; still expected: %s", rest[0], strings.Join(missing, " "))
		}
		if len(rest) < 2 {
			return die("%s needs a value", rest[0])
		}
		missing = slices.Delete(slices.Clone(missing), at, at+1)
		i.flags[name] = rest[1]
	}
	missing = slices.DeleteFunc(slices.Clone(missing), i.optional)
	if len(missing) > 0 {
		return die("missing flags: %s", strings.Join(missing, " "))
	}
	return nil
}

// words splits a command line as a POSIX shell does, but without expansion. It fails for an argument that a shell would
// expand, because the program quotes all of its arguments.
func words(line string) ([]string, error) {
	var all []string
	var word strings.Builder
	inWord := false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; c {
		case ' ':
			if inWord {
				all = append(all, word.String())
				word.Reset()
				inWord = false
			}
		case '\'':
			end := strings.IndexByte(line[i+1:], '\'')
			if end < 0 {
				return nil, &failure{2, "sh: syntax error: unterminated quoted string"}
			}
			word.WriteString(line[i+1 : i+1+end])
			i += end + 1
			inWord = true
		case '\\':
			if i++; i < len(line) {
				word.WriteByte(line[i])
			}
			inWord = true
		case '$', '`', '"', ';', '&', '|', '<', '>', '(', ')', '*', '?', '[', '\n':
			return nil, &failure{2, fmt.Sprintf("the argument with %q is not quoted for the shell", c)}
		default:
			word.WriteByte(c)
			inWord = true
		}
	}
	if inWord {
		all = append(all, word.String())
	}
	return all, nil
}

// checked caches the results of checkSyntax by the script's checksum, because the same few scripts run for every node.
var checked sync.Map

// checkSyntax checks a script's syntax with bash, if bash is installed.
func checkSyntax(text string) error {
	key := sha256.Sum256([]byte(text))
	if known, ok := checked.Load(key); ok {
		return known.(func() error)()
	}
	verdict, _ := checked.LoadOrStore(key, sync.OnceValue(func() error {
		bash, err := exec.LookPath("bash")
		if err != nil {
			return nil
		}
		// The time limit is independent of the caller's, because the result is cached for others too.
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		var said bytes.Buffer
		check := exec.CommandContext(ctx, bash, "-n", "-s")
		check.Stdin, check.Stderr = strings.NewReader(text), &said
		if err := check.Run(); err != nil {
			return &failure{2, strings.TrimSpace(said.String())}
		}
		return nil
	}))
	return verdict.(func() error)()
}
