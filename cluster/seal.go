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

// The error of a command that fails contains all its output in plain text, and a command can fail even after the last
// line of its script, if the connection breaks. Therefore a script whose result is a secret encrypts it with `openssl
// enc -aes-256-ctr -pbkdf2 -base64 -A` and a key that it reads from standard input.

// outputKey returns the key with which a script encrypts its result. It is derived from the machines' SSH key, so only
// those who have that key can derive it.
func outputKey(s config.SSH, script string) pulumi.StringOutput {
	return s.PrivateKey.ApplyT(func(privateKey string) string {
		mac := hmac.New(sha256.New, []byte(privateKey))
		mac.Write([]byte("the result of " + script))
		return hex.EncodeToString(mac.Sum(nil))
	}).(pulumi.StringOutput)
}

// decrypt decrypts a script's result. Its errors contain neither the result nor the key.
func decrypt(encrypted, key string) (string, error) {
	const header, salt, iterations = "Salted__", 8, 10_000 // openssl's
	data, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encrypted))
	if err != nil || len(data) < len(header)+salt || string(data[:len(header)]) != header {
		return "", errors.New("it is not in the format of `openssl enc`")
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
