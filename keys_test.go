package main

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

// lockedKey returns a private key with a passphrase.
func lockedKey(t *testing.T) string {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKeyWithPassphrase(key, "test", []byte("open sesame"))
	require.NoError(t, err)
	return string(pem.EncodeToMemory(block))
}

// ecdsaKey returns a private key of a type that EC2 cannot import.
func ecdsaKey(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKey(key, "test")
	require.NoError(t, err)
	return string(pem.EncodeToMemory(block))
}
