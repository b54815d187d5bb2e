package world

import (
	"bytes"
	"compress/gzip"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

const password = `OpenSesame42'"\ <&>$%{}é`

// A search that finds nothing only proves something if it would find a secret in every encoding.
func TestSecretsAreFoundInEveryForm(t *testing.T) {
	var secrets Secrets
	secrets.Add("the password", password)
	inJSON, err := json.Marshal(password)
	require.NoError(t, err)
	twice, err := json.Marshal(string(inJSON))
	require.NoError(t, err)
	sum := sha256.Sum256([]byte(password))
	for name, text := range map[string]string{
		"as it is":                "error: " + password,
		"its recognisable part":   "OpenSesame42",
		"JSON":                    string(inJSON),
		"JSON in JSON":            string(twice),
		"Go":                      strconv.Quote(password),
		"a URL":                   "https://x.example/?p=" + url.QueryEscape(password),
		"a shell's word":          "'" + strings.ReplaceAll(password, "'", `'\''`) + "'",
		"base64":                  base64.StdEncoding.EncodeToString([]byte(password)),
		"base64 behind one byte":  base64.StdEncoding.EncodeToString([]byte("1" + password + "2")),
		"base64 behind two":       base64.RawURLEncoding.EncodeToString([]byte("12" + password + "345")),
		"base64 of JSON":          base64.StdEncoding.EncodeToString(fmt.Appendf(nil, `{"password": %s}`, inJSON)),
		"hex":                     hex.EncodeToString([]byte(password)),
		"upper-case hex":          fmt.Sprintf("%X", password),
		"the beginning of a hash": "@" + hex.EncodeToString(sum[:8]),
	} {
		assert.Len(t, secrets.In(text), 1, name)
		for _, found := range secrets.In(text) {
			assert.NotContains(t, found, "Sesame")
		}
	}
	assert.Empty(t, secrets.In("OpenSesam, [secret], "+base64.StdEncoding.EncodeToString([]byte("another password"))))
}

// A key is found by any of its lines, and by half a line.
func TestPartsOfAKeyAreFound(t *testing.T) {
	body := strings.Repeat("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/", 2)
	var secrets Secrets
	secrets.Add("the key", "-----BEGIN PRIVATE KEY-----\n"+body[:70]+"\n"+body[70:]+"\n-----END PRIVATE KEY-----\n")
	assert.Len(t, secrets.In(body[20:55]), 1)
	assert.Len(t, secrets.In(body[70:100]), 1)
	assert.Empty(t, secrets.In("-----BEGIN PRIVATE KEY-----"))
}

// An SSH key is found by its seed, and its public half is not reported.
func TestAnSSHKeyIsFound(t *testing.T) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKey(private, "a comment")
	require.NoError(t, err)
	text := string(pem.EncodeToMemory(block))
	var secrets Secrets
	require.NoError(t, secrets.AddKey("the key", text))
	public, err := ssh.NewPublicKey(private.Public())
	require.NoError(t, err)
	assert.Empty(t, secrets.In(string(ssh.MarshalAuthorizedKey(public))))
	lines, found := strings.Split(text, "\n"), 0
	for _, line := range lines {
		found += len(secrets.In(line))
	}
	assert.Positive(t, found, "one line is enough")
	assert.Empty(t, secrets.In(lines[1]), "all keys have the same beginning")
	assert.Len(t, secrets.In(base64.StdEncoding.EncodeToString(private)), 1)

	_, other, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	block, err = ssh.MarshalPrivateKey(other, "a comment")
	require.NoError(t, err)
	assert.Empty(t, secrets.In(string(pem.EncodeToMemory(block))))
}

func TestFilesAreSearched(t *testing.T) {
	dir := t.TempDir()
	var secrets Secrets
	secrets.Add("the password", password)
	var packed bytes.Buffer
	writer := gzip.NewWriter(&packed)
	_, err := writer.Write([]byte("a log with " + password))
	require.NoError(t, err)
	require.NoError(t, writer.Close())
	for name, data := range map[string][]byte{
		"fine": []byte("[secret]"), "allowed": []byte(password), "plain": []byte(password), "log.gz": packed.Bytes(), "of-OpenSesame42": nil,
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
	found, searched, err := secrets.InFiles(dir, func(path string) bool { return path == "allowed" })
	require.NoError(t, err)
	assert.Equal(t, 4, searched)
	assert.Len(t, found, 3, found)
}
