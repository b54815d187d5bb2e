package stacktest

import (
	"bytes"
	"compress/gzip"
	"crypto/ed25519"
	"crypto/md5"  //nolint:gosec // a fingerprint that somebody might print
	"crypto/sha1" //nolint:gosec // likewise
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// Secrets are values that must not show. They are searched in the forms in which one escapes a mask that only
// knows its text: parts of it, which any quoting leaves as they are, and these and hashes of the whole encoded.
// Its zero value knows none.
type Secrets struct {
	// forms are by their first bytes, so that one look at each place of a text is enough.
	forms map[string][]form
}

type form struct{ secret, as, text string }

const (
	// formStart is the length of those first bytes, and of the shortest form.
	formStart = 8
	// partLength is short enough for a line of a PEM block, or of wrapped base64, to hold some part whole.
	partLength = 16
	// hashLength is what people cut a hash to.
	hashLength = 12
)

// unescaped is what no quoting, escaping or wrapping changes.
var unescaped = regexp.MustCompile(`[A-Za-z0-9+/=]{8,}`)

// Add has a value searched, whole and in parts. Each of its words that has eight letters or more must be as
// secret as the value, but for what is in a public text too: a private key holds its public half.
func (s *Secrets) Add(name, value string, public ...string) {
	s.AddWhole(name, value)
	for _, word := range unescaped.FindAllString(value, -1) {
		for part := range slices.Chunk([]byte(word), partLength) {
			if len(part) < formStart {
				part = []byte(word[max(0, len(word)-partLength):])
			}
			if !slices.ContainsFunc(public, func(text string) bool { return strings.Contains(text, string(part)) }) {
				s.encoded(name, "part of it", string(part))
			}
		}
	}
	for as, hash := range map[string]hash.Hash{"its MD5": md5.New(), "its SHA-1": sha1.New(), "its SHA-256": sha256.New()} { //nolint:gosec // see above
		_, _ = io.WriteString(hash, value) // a hash takes everything
		sum := hash.Sum(nil)
		s.form(name, as, hex.EncodeToString(sum)[:hashLength])
		s.form(name, as+" as base64", base64.StdEncoding.EncodeToString(sum)[:hashLength])
	}
}

// AddKey has an ed25519 key in OpenSSH form searched. What is public in it is all but its seed: the public half, a
// comment, and what such files begin with.
func (s *Secrets) AddKey(name, text string) error {
	raw, err := ssh.ParseRawPrivateKey([]byte(text))
	if err != nil {
		return err
	}
	private, ok := raw.(*ed25519.PrivateKey)
	if !ok {
		return fmt.Errorf("%T is no ed25519 key", raw)
	}
	block, _ := pem.Decode([]byte(text)) // it was parsed already
	block.Bytes = bytes.ReplaceAll(block.Bytes, private.Seed(), make([]byte, ed25519.SeedSize))
	s.Add(name, text, string(pem.EncodeToMemory(block)))
	s.AddWhole(name+"'s seed", string(private.Seed()))
	return nil
}

// AddWhole has a value searched whole: its words are nobody's secret.
func (s *Secrets) AddWhole(name, value string) { s.encoded(name, "all of it", value) }

func (s *Secrets) encoded(name, as, value string) {
	s.form(name, as, value)
	inHex := hex.EncodeToString([]byte(value))
	s.form(name, as+" in hex", inHex)
	s.form(name, as+" in hex", strings.ToUpper(inHex))
	for _, text := range base64Of(value) {
		s.form(name, as+" as base64", text)
		s.form(name, as+" as base64", strings.NewReplacer("+", "-", "/", "_").Replace(text))
	}
}

// base64Of is a value in base64, wherever it stands in what was encoded: without the characters that also
// depend on what is before and behind it.
func base64Of(value string) []string {
	var texts []string
	for before, from := range []int{0, 2, 3} {
		text := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("\x00", before) + value))
		texts = append(texts, text[from:(before+len(value))*8/6])
	}
	return texts
}

func (s *Secrets) form(secret, as, text string) {
	if len(text) < formStart {
		return // it would be found everywhere
	}
	if s.forms == nil {
		s.forms = map[string][]form{}
	}
	f := form{secret, as, text}
	if start := text[:formStart]; !slices.Contains(s.forms[start], f) {
		s.forms[start] = append(s.forms[start], f)
	}
}

// In says which secrets a text shows, in which form, and behind what: not the secret itself.
func (s *Secrets) In(text string) []string {
	var found []string
	told := map[string]bool{}
	for i := 0; i+formStart <= len(text); i++ {
		for _, f := range s.forms[text[i:i+formStart]] {
			if told[f.secret] || !strings.HasPrefix(text[i:], f.text) {
				continue
			}
			told[f.secret] = true
			found = append(found, fmt.Sprintf("%s (%s) behind %q", f.secret, f.as, text[max(0, i-60):i]))
		}
	}
	return found
}

// InFiles searches all files below a directory, and the names of these. Paths are relative to it; what except
// says yes to is left out. looked counts the files that were searched.
func (s *Secrets) InFiles(dir string, except func(path string) bool) (found []string, looked int, err error) {
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(dir, path)
		switch {
		case err != nil:
			return err
		case except(relative) && entry.IsDir():
			return fs.SkipDir
		case except(relative) || !entry.Type().IsRegular():
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		data, err = unpacked(data)
		if err != nil {
			return fmt.Errorf("unpacking %s: %w", path, err)
		}
		looked++
		for _, what := range s.In(relative + "\n" + string(data)) {
			found = append(found, relative+": "+what)
		}
		return nil
	})
	return found, looked, err
}

// unpacked is what was compressed with gzip, as the engine's own logs are. A process that was killed left
// half of one.
func unpacked(data []byte) ([]byte, error) {
	if !bytes.HasPrefix(data, []byte{0x1f, 0x8b}) {
		return data, nil
	}
	reader, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	plain, err := io.ReadAll(reader)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return plain, err
}
