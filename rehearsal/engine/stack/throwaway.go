package stack

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/config"
	"golang.org/x/crypto/ssh"
)

// throwAway holds the secrets that a committed stack file cannot contain and a real user sets. They are generated once
// for a state directory, and are worthless outside of it.
type throwAway struct {
	// Passphrase encrypts the stacks' secrets, with Salt.
	Passphrase string
	Salt       []byte
	// EncryptionSalt is the value of encryptionsalt in a stack file: the salt, and an encrypted known text to check the
	// passphrase with. It is kept, because if it differed between settings and state, the engine would derive its key
	// twice.
	EncryptionSalt string
	// PrivateKey is an SSH key in OpenSSH's format.
	PrivateKey string
	Passwords  map[string]string
}

// passwordKeys are the settings with the passwords that the program stores for its workloads.
var passwordKeys = []string{"postgresPassword", "redisPassword", "rabbitmqPassword", "grafanaPassword"}

// loadThrowAway reads the state directory's values, or generates and saves them.
func loadThrowAway(stateDir string) (throwAway, error) {
	path := filepath.Join(stateDir, "throwaway.json")
	var values throwAway
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, &values)
	}
	if errors.Is(err, fs.ErrNotExist) {
		values, err = newThrowAway()
	}
	if err == nil && values.EncryptionSalt == "" { // new, or written by an older rehearsal
		if values.EncryptionSalt, err = values.encryptionSalt(); err == nil {
			err = save(path, values)
		}
	}
	if err != nil {
		return throwAway{}, fmt.Errorf("preparing the rehearsal's throw-away secrets in %s: %w", path, err)
	}
	return values, nil
}

func newThrowAway() (throwAway, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return throwAway{}, err
	}
	block, err := ssh.MarshalPrivateKey(private, "rehearsal")
	if err != nil {
		return throwAway{}, err
	}
	values := throwAway{
		Passphrase: rand.Text(),
		Salt:       make([]byte, 8), // the size that Pulumi uses
		PrivateKey: string(pem.EncodeToMemory(block)),
		Passwords:  map[string]string{},
	}
	for _, key := range passwordKeys {
		values.Passwords[key] = rand.Text()
	}
	_, err = rand.Read(values.Salt)
	return values, err
}

// crypters caches crypters by passphrase and salt, because deriving a key takes a quarter of a second.
var crypters sync.Map

// crypter returns a crypter that encrypts and decrypts as Pulumi does with the passphrase.
func (v throwAway) crypter() config.Crypter {
	key := v.Passphrase + string(v.Salt)
	if known, ok := crypters.Load(key); ok {
		return known.(config.Crypter)
	}
	derived := config.NewSymmetricCrypterFromPassphrase(v.Passphrase, v.Salt)
	crypters.Store(key, derived)
	return derived
}

// encryptionSalt returns the text that Pulumi writes to a stack file when it first uses a passphrase.
func (v throwAway) encryptionSalt() (string, error) {
	check, err := v.crypter().EncryptValue(context.Background(), "pulumi") // the context is not used
	if err != nil {
		return "", fmt.Errorf("encrypting the passphrase's check: %w", err)
	}
	return fmt.Sprintf("v1:%s:%s", base64.StdEncoding.EncodeToString(v.Salt), check), nil
}

// save writes the file atomically.
func save(path string, values throwAway) error {
	data, err := json.MarshalIndent(values, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// Secrets returns the throw-away secrets of a state directory that no output may contain, in the encodings in which one
// might: as they are, as base64, and a key also line by line.
func Secrets(stateDir string) ([]string, error) {
	values, err := loadThrowAway(stateDir)
	if err != nil {
		return nil, err
	}
	texts := []string{values.Passphrase, values.PrivateKey}
	for _, password := range values.Passwords {
		texts = append(texts, password)
	}
	for _, text := range slices.Clone(texts) {
		texts = append(texts, base64.StdEncoding.EncodeToString([]byte(text)))
	}
	for line := range strings.Lines(values.PrivateKey) {
		if !strings.HasPrefix(line, "-----") { // these lines are the same for every key
			texts = append(texts, strings.TrimSpace(line))
		}
	}
	return texts, nil
}
