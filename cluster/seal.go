package cluster

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"eco2/config"
)

// A command that fails is reported with all that it printed, in the clear, and the connection may still break
// behind the last line of a script. So a script whose result is a secret seals it, as `openssl enc
// -aes-256-ctr -pbkdf2 -base64 -A` does, with a key that it reads from standard input.

// sealKey is what a script's result is sealed with: known to whoever has the machines' key, and to
// nobody else.
func sealKey(s config.SSH, script string) pulumi.StringOutput {
	return s.PrivateKey.ApplyT(func(privateKey string) string {
		mac := hmac.New(sha256.New, []byte(privateKey))
		mac.Write([]byte("the result of " + script))
		return hex.EncodeToString(mac.Sum(nil))
	}).(pulumi.StringOutput)
}

// unseal opens what was sealed with the key. Its error quotes neither.
func unseal(sealed, key string) (string, error) {
	const header, salt, iterations = "Salted__", 8, 10_000 // openssl's
	data, err := base64.StdEncoding.DecodeString(strings.TrimSpace(sealed))
	if err != nil || len(data) < len(header)+salt || string(data[:len(header)]) != header {
		return "", errors.New("it is not sealed as `openssl enc` does it")
	}
	data = data[len(header):]
	derived, err := pbkdf2.Key(sha256.New, key, data[:salt], iterations, 32+aes.BlockSize)
	if err != nil {
		return "", err
	}
	block, err := aes.NewCipher(derived[:32])
	if err != nil {
		return "", err
	}
	text := data[salt:]
	cipher.NewCTR(block, derived[32:]).XORKeyStream(text, text)
	return string(text), nil
}
