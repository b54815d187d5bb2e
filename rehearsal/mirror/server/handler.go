// Package server serves a mirror's directory over HTTP. It needs nothing of what makes one.
package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// manifestType is the media type of all manifests in a mirror.
const manifestType = "application/vnd.oci.image.manifest.v1+json"

// Handler serves what is https://HOST/PATH on the internet at /files/HOST/PATH, and at /v2/ a registry of
// images to pull: those of the registry that the query's ns names, as containerd asks a mirror.
// It reads the directory at each request, and so has what was added since. What it does not have it names in
// its answer, and in the log.
//
// A library for the registry would keep manifests in memory and take pushes; a pull needs no more than this.
func Handler(dir string) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /files/", http.StripPrefix("/files/", files(dir)))
	mux.Handle("GET /v2/", http.StripPrefix("/v2/", images(dir)))
	return mux
}

// files serves the files of a mirror, and no lists of them.
type files Dir

func (f files) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	err := fs.ErrNotExist
	if filepath.IsLocal(r.URL.Path) {
		err = serve(w, r, Dir(f).File(r.URL.Path))
	}
	if err != nil {
		message := "the mirror has no https://" + r.URL.Path
		log.Print(message)
		http.Error(w, message, http.StatusNotFound)
	}
}

// serve answers with a file, or returns why there is none to answer with.
func serve(w http.ResponseWriter, r *http.Request, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // it was read
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fs.ErrNotExist
	}
	http.ServeContent(w, r, path, info.ModTime(), file)
	return nil
}

// images serves the images of a mirror.
type images Dir

func (i images) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "" {
		return // a client asks whether this is a registry
	}
	rest, reference := path.Split(r.URL.Path)
	repository, kind := path.Split(strings.TrimSuffix(rest, "/"))
	repository = path.Join(r.URL.Query().Get("ns"), repository)
	if err := i.serve(w, r, repository, kind, reference); err != nil {
		message := fmt.Sprintf("the mirror has no %s %s of the image %s", strings.TrimSuffix(kind, "s"), reference, repository)
		log.Print(message)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		// In the form of the distribution specification. A client that is gone misses nothing.
		_ = json.NewEncoder(w).Encode(map[string]any{"errors": []map[string]string{{"code": "NOT_FOUND", "message": message}}})
	}
}

// serve answers with a manifest, by its tag or its digest, or with a blob.
func (i images) serve(w http.ResponseWriter, r *http.Request, repository, kind, reference string) error {
	if !filepath.IsLocal(repository) || !filepath.IsLocal(reference) {
		return fs.ErrNotExist
	}
	digest, mediaType := reference, "application/octet-stream"
	switch kind {
	case "manifests":
		mediaType = manifestType
		if strings.Contains(reference, ":") {
			break
		}
		tagged, err := os.ReadFile(Dir(i).Tag(repository, reference))
		if err != nil {
			return err
		}
		digest = string(tagged)
	case "blobs":
	default:
		return errors.New("a pull asks for manifests and blobs only")
	}
	file := Dir(i).Blob(digest)
	if _, err := os.Stat(file); err != nil {
		return err
	}
	w.Header().Set("Docker-Content-Digest", digest)
	w.Header().Set("Content-Type", mediaType)
	return serve(w, r, file)
}
