package server

import (
	"path/filepath"
	"strings"
)

// Dir is a mirror's directory. It stores images as the registry protocol addresses them: blobs and manifests by digest,
// and for each tag a file with the digest of its manifest. A tag is written last, so an existing tag always refers to a
// complete image.
type Dir string

// File returns the path of the mirror's copy of https://HOST/PATH.
func (d Dir) File(url string) string {
	return filepath.Join(string(d), "files", filepath.FromSlash(strings.TrimPrefix(url, "https://")))
}

// Blob returns the path of the manifest, configuration or layer with this digest.
func (d Dir) Blob(digest string) string {
	return filepath.Join(string(d), "images", "blobs", strings.ReplaceAll(digest, ":", "-"))
}

// Tag returns the path of the file with the digest of a tag's manifest. repository includes the registry.
func (d Dir) Tag(repository, tag string) string {
	return filepath.Join(string(d), "images", "tags", filepath.FromSlash(repository), tag)
}
