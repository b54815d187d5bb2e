// Package server serves a mirror's directory over HTTP. It does not depend on package mirror, which makes one.
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

// Handler serves the file https://HOST/PATH at /files/HOST/PATH, and a container registry for pulls at /v2/. The query
// parameter ns names the registry whose images are meant, as containerd sends it to a mirror. The directory is read at
// each request, so that additions are served at once. For a missing file or image, the answer and the log say which.
//
// A registry library would keep manifests in memory and accept pushes, neither of which is needed here.
func Handler(dir string) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /files/", http.StripPrefix("/files/", files(dir)))
	mux.Handle("GET /v2/", http.StripPrefix("/v2/", images(dir)))
	return mux
}

// files serves the files of a mirror, without directory listings.
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

// serve answers with a file. It returns an error without having answered if there is no such file.
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
		return // status 200 tells a client that this is a registry
	}
	rest, reference := path.Split(r.URL.Path)
	repository, kind := path.Split(strings.TrimSuffix(rest, "/"))
	repository = path.Join(r.URL.Query().Get("ns"), repository)
	if err := i.serve(w, r, repository, kind, reference); err != nil {
		message := fmt.Sprintf("the mirror has no %s %s of the image %s", strings.TrimSuffix(kind, "s"), reference, repository)
		log.Print(message)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		// The distribution specification's format. A write error means that the client is gone, so it is ignored.
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
		return errors.New("only manifests and blobs are served")
	}
	file := Dir(i).Blob(digest)
	if _, err := os.Stat(file); err != nil {
		return err
	}
	w.Header().Set("Docker-Content-Digest", digest)
	w.Header().Set("Content-Type", mediaType)
	return serve(w, r, file)
}
