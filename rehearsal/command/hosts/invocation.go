package hosts

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

	"eco2/rehearsal/command"
)

// invocation is one run of a script.
//
// The program sends the text of a script down the standard input of `sudo bash -s -- ARG… # NAME.sh@HASH`,
// lib.sh before it and its data behind it; or it runs a script that install.sh has put on the machine with
// `sudo bash /usr/local/lib/eco2/NAME.sh ARG… # NAME.sh@HASH`, and all of standard input is data. A script that
// runs another on a worker has that one's NAME.sh@HASH behind its own, and at the end there may be the machine on
// which it is to run: `on ID`.
type invocation struct {
	// script is the script's name without .sh.
	script string
	args   []string
	// flags are the args of a script that takes nothing but --name value.
	flags map[string]string
	// text is the script's own, and data what it reads from its standard input.
	text, data string
}

var (
	label = regexp.MustCompile(`^sudo bash (-s --|/usr/local/lib/eco2/([a-z]+)\.sh)(.*)# ((?:[a-z]+\.sh@[0-9a-f]+ ?)+?)(?: on (i-[0-9a-f]+))?$`)
	// fileLine begins a file in the data of install.sh.
	fileLine = regexp.MustCompile(`(?m)^=== ([a-z]+)\.sh ===\n`)
	// lastLine ends every script: what follows is data, which bash never reads as commands.
	lastLine = regexp.MustCompile(`(?m)^main "\$@"; exit\n`)
	// flagsLine is a script's own declaration of the flags it needs.
	flagsLine = regexp.MustCompile(`(?m)^\s*flags ([a-z0-9 -]+) -- "\$(?:@|\{own\[@\]\})"$`)
)

// parse reads a session as an invocation, and refuses what bash or the script's own reading of its
// arguments would refuse. installed are the texts of the scripts that the machine has, by name.
func parse(session command.Session, machineID string, installed map[string]string) (invocation, error) {
	parts := label.FindStringSubmatch(session.Command)
	if parts == nil {
		return invocation{}, &failure{127, "the simulated host runs the program's scripts only: " +
			"sudo bash -s -- ARG… # NAME.sh@HASH, or sudo bash /usr/local/lib/eco2/NAME.sh ARG… # NAME.sh@HASH"}
	}
	file, args, hashes, on := parts[2], parts[3], hashesOf(parts[4]), parts[5]
	run := invocation{script: hashes[0].script, flags: map[string]string{}}
	if on != "" && on != machineID {
		return run, die("the command is for the machine %s, and this is %s", on, machineID)
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
		// What runs on a delete is in the state as an older program may have written it.
		onDelete := file == "leave" || file == "sweep"
		for _, meant := range hashes {
			sum := sha256.Sum256([]byte(installed[meant.script]))
			if !onDelete && !strings.HasPrefix(hex.EncodeToString(sum[:]), meant.hash) {
				return run, die("the installed %s.sh is not the one that the program means (%s): it was not installed again first", meant.script, meant.hash)
			}
		}
		run.data = session.Stdin
	} else {
		end := lastLine.FindStringIndex(session.Stdin)
		if end == nil {
			return run, &failure{2, run.script + `.sh: standard input holds no script that ends with the line: main "$@"; exit`}
		}
		text, run.data = session.Stdin[:end[1]], session.Stdin[end[1]:]
	}
	run.text = text
	if err := checkSyntax(text); err != nil {
		return run, err
	}
	return run, run.readFlags()
}

// meant is a script as the program knows it.
type meant struct{ script, hash string }

func hashesOf(label string) (all []meant) {
	for _, one := range strings.Fields(label) {
		script, hash, _ := strings.Cut(one, ".sh@")
		all = append(all, meant{script, hash})
	}
	return all
}

// readFlags reads the args of a script that declares flags. What is behind -- is another script's.
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

// effective is the script that does the work: the one that is relayed, if this one relays.
func (i invocation) effective() string { return cmp.Or(i.flags["script"], i.script) }

// optional says whether a script gives the variable of a flag a value before it reads its flags.
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

// words splits a command line as a POSIX shell does, without any expansion: an argument that would be
// expanded is refused, because the program quotes all of its own.
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

// checked remembers the scripts that bash has parsed, by checksum, and what it said: the same few texts
// come again for every node.
var checked sync.Map

// checkSyntax lets bash parse a script, where there is a bash.
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
		// Its own time limit, because the answer is kept for others too.
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
