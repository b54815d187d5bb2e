package provider

import (
	"crypto/rand"
	"encoding/hex"
)

// autoname returns a new random name on every call. Callers keep an object's earlier name by taking it from the old
// inputs.
func autoname(name string) string {
	suffix := make([]byte, 4)
	_, _ = rand.Read(suffix) // documented never to fail
	return name + "-" + hex.EncodeToString(suffix)
}
