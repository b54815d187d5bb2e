package simulated

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
)

// encrypt encrypts as `openssl enc -aes-256-ctr -pbkdf2 -base64 -A` does, but with a constant salt.
func encrypt(text, key string) (string, error) {
	const salt = "simulate"
	derived, err := pbkdf2.Key(sha256.New, key, []byte(salt), 10_000, 32+aes.BlockSize)
	if err != nil {
		return "", err
	}
	block, err := aes.NewCipher(derived[:32])
	if err != nil {
		return "", err
	}
	encrypted := []byte(text)
	cipher.NewCTR(block, derived[32:]).XORKeyStream(encrypted, encrypted)
	return base64.StdEncoding.EncodeToString(append([]byte("Salted__"+salt), encrypted...)), nil
}
