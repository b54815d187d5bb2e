package server

import (
	"path/filepath"
	"strings"
)

// Dir is a mirror's directory. An image is there as the registry protocol asks for it: what it is made of by
// digest, and for each tag a file with the digest of its manifest. A tag is written last, so one that is
// there leads to a whole image.
type Dir string

// File is where the mirror has https://HOST/PATH.
func (d Dir) File(url string) string {
	return filepath.Join(string(d), "files", filepath.FromSlash(strings.TrimPrefix(url, "https://")))
}

// Blob is where the mirror has a manifest, a configuration or a layer with this digest.
func (d Dir) Blob(digest string) string {
	return filepath.Join(string(d), "images", "blobs", strings.ReplaceAll(digest, ":", "-"))
}

// Tag is where the mirror has the digest of an image's manifest. The repository has its registry before it.
func (d Dir) Tag(repository, tag string) string {
	return filepath.Join(string(d), "images", "tags", filepath.FromSlash(repository), tag)
}
