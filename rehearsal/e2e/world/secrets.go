package world

import (
	"bytes"
	"compress/gzip"
	"crypto/ed25519"
	"crypto/md5"  //nolint:gosec // somebody might print it as a fingerprint
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

// Secrets searches texts for secrets. It also finds the forms in which a secret would escape a mask that only knows its
// exact text: parts that are the same in any quoting, encodings of these and of the whole, and hashes. The zero value
// has no secrets.
type Secrets struct {
	// forms are by their first formStart bytes, so that one lookup for each position of a text is enough.
	forms map[string][]form
}

type form struct{ secret, as, text string }

const (
	// formStart is the length of the prefixes by which forms are indexed, and of the shortest form.
	formStart = 8
	// partLength is short enough that each line of a PEM block, or of wrapped base64, contains a whole part.
	partLength = 16
	// hashLength is the length to which people often truncate a hash.
	hashLength = 12
)

// unescaped matches words that no quoting, escaping or wrapping changes.
var unescaped = regexp.MustCompile(`[A-Za-z0-9+/=]{8,}`)

// Add adds a value to search for, as a whole and in parts. Each of its words of eight or more letters must be secret,
// unless it is also part of one of the public texts: a private key, for example, contains its public half.
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
		_, _ = io.WriteString(hash, value) // writing to a hash never fails
		sum := hash.Sum(nil)
		s.form(name, as, hex.EncodeToString(sum)[:hashLength])
		s.form(name, as+" as base64", base64.StdEncoding.EncodeToString(sum)[:hashLength])
	}
}

// AddKey adds an ed25519 key in OpenSSH's format to search for. Everything in it except the seed is public: the public
// half, a comment, and the beginning, which is the same in all such files.
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

// AddWhole adds a value to search for as a whole only, because its single words are not secret.
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

// base64Of returns a value in base64 for each of the three possible positions within a larger encoded text, without the
// characters that also depend on the bytes before and behind it.
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
		return // too short: it would be found everywhere
	}
	if s.forms == nil {
		s.forms = map[string][]form{}
	}
	f := form{secret, as, text}
	if start := text[:formStart]; !slices.Contains(s.forms[start], f) {
		s.forms[start] = append(s.forms[start], f)
	}
}

// In describes the secrets that a text contains: the name, the form, and the text before it, but not the secret itself.
func (s *Secrets) In(text string) []string {
	var found []string
	reported := map[string]bool{}
	for i := 0; i+formStart <= len(text); i++ {
		for _, f := range s.forms[text[i:i+formStart]] {
			if reported[f.secret] || !strings.HasPrefix(text[i:], f.text) {
				continue
			}
			reported[f.secret] = true
			found = append(found, fmt.Sprintf("%s (%s) behind %q", f.secret, f.as, text[max(0, i-60):i]))
		}
	}
	return found
}

// InFiles searches the names and contents of all files below a directory, except those for which except returns true.
// Paths are relative to the directory. searched is the number of files that were searched.
func (s *Secrets) InFiles(dir string, except func(path string) bool) (found []string, searched int, err error) {
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
		searched++
		for _, what := range s.In(relative + "\n" + string(data)) {
			found = append(found, relative+": "+what)
		}
		return nil
	})
	return found, searched, err
}

// unpacked decompresses gzip data, such as the engine's own logs, and returns other data unchanged. The file of a
// killed process may be truncated, which is no error.
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
