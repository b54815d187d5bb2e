package kubernetes

import (
	"crypto/rand"
	"encoding/hex"
)

// autoname makes a new name on every call: what it named before is kept through the old inputs.
func autoname(name string) string {
	suffix := make([]byte, 4)
	_, _ = rand.Read(suffix) // documented never to fail
	return name + "-" + hex.EncodeToString(suffix)
}
