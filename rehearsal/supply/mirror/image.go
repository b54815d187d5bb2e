package mirror

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"eco2/rehearsal/internal/progress"
)

// Image describes a container image of a few files. The same files always make the same image, with the same digest.
type Image struct {
	// Name is the full name that a pod uses: registry/repository:tag.
	Name string
	// Files maps paths in the image to executables on this host. Each file is a layer of its own, so that images share
	// the files that they have in common.
	Files map[string]string
	// Setuid is like Files, but the executables are setuid root.
	Setuid map[string]string
	// Folders are world-writable directories, such as /tmp.
	Folders []string
	// Texts maps paths in the image to the contents of world-readable files.
	Texts map[string]string
	// Writable are paths of empty, world-writable files.
	Writable []string
	// Links maps paths of symbolic links in the image to their targets.
	Links map[string]string
	// Debian are binary packages whose files the image contains. Dependencies are not resolved: list them too.
	Debian     []string
	Entrypoint []string
	// Args are the default arguments.
	Args []string
	// User is a numeric user or user:group; empty means root.
	User string
	// Env are environment variables in addition to PATH, as NAME=value.
	Env []string
}

// AddImage builds the image and adds it to the mirror. It replaces an image of the same name.
func (m Mirror) AddImage(ctx context.Context, i Image, out io.Writer) error {
	d, err := newDebian(out)
	if err != nil {
		return err
	}
	return m.addImage(ctx, i, d)
}

func (m Mirror) addImage(ctx context.Context, i Image, d debian) (err error) {
	step := progress.Start(d.out, "making the image "+i.Name)
	defer func() { step.End(err) }()
	tag, err := name.NewTag(i.Name, name.StrictValidation)
	if err != nil {
		return fmt.Errorf("adding the image %q to the mirror: %w", i.Name, err)
	}
	image, err := i.build(ctx, d)
	if err != nil {
		return fmt.Errorf("making the image %s: %w", i.Name, err)
	}
	if err := m.put(tag, image); err != nil {
		return fmt.Errorf("writing the image %s: %w", i.Name, err)
	}
	return nil
}

func (i Image) build(ctx context.Context, d debian) (v1.Image, error) {
	var layers []v1.Layer
	if len(i.Debian) > 0 {
		layer, err := debianLayer(ctx, d, i.Debian)
		if err != nil {
			return nil, err
		}
		layers = append(layers, layer)
	}
	if len(i.Links) > 0 {
		layer, err := linkLayer(i.Links)
		if err != nil {
			return nil, err
		}
		layers = append(layers, layer)
	}
	if len(i.Folders) > 0 {
		layer, err := folderLayer(i.Folders)
		if err != nil {
			return nil, err
		}
		layers = append(layers, layer)
	}
	if len(i.Texts) > 0 {
		layer, err := textLayer(i.Texts)
		if err != nil {
			return nil, err
		}
		layers = append(layers, layer)
	}
	if len(i.Writable) > 0 {
		layer, err := writableLayer(i.Writable)
		if err != nil {
			return nil, err
		}
		layers = append(layers, layer)
	}
	for _, files := range []struct {
		sources map[string]string
		mode    int64
	}{{i.Files, 0o755}, {i.Setuid, 0o4755}} {
		for _, target := range slices.Sorted(maps.Keys(files.sources)) {
			layer, err := fileLayer(target, files.sources[target], files.mode)
			if err != nil {
				return nil, err
			}
			layers = append(layers, layer)
		}
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.AppendLayers(image, layers...)
	if err != nil {
		return nil, err
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", runtime.GOARCH
	file.Config = v1.Config{
		Entrypoint: i.Entrypoint, Cmd: i.Args, User: i.User,
		Env: append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, i.Env...),
	}
	return mutate.ConfigFile(image, file)
}

// layer returns a layer with the entries that write writes. It is not compressed: on one machine that would save no
// network traffic, and each of 14 nodes would have to decompress it.
func layer(write func(*tar.Writer) error) (v1.Layer, error) {
	var buffer bytes.Buffer
	archive := tar.NewWriter(&buffer)
	if err := write(archive); err != nil {
		return nil, err
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	return static.NewLayer(buffer.Bytes(), types.OCIUncompressedLayer), nil
}

// entry returns the header of a file without owner and time, so that the layer depends on the files' contents only.
func entry(name string, kind byte) *tar.Header {
	return &tar.Header{Typeflag: kind, Name: strings.TrimPrefix(path.Clean(name), "/"), Mode: 0o755, Format: tar.FormatPAX}
}

func fileLayer(target, source string, mode int64) (v1.Layer, error) {
	return layer(func(archive *tar.Writer) error {
		data, err := os.ReadFile(source)
		if err != nil {
			return err
		}
		header := entry(target, tar.TypeReg)
		header.Mode, header.Size = mode, int64(len(data))
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		_, err = archive.Write(data)
		return err
	})
}

func folderLayer(names []string) (v1.Layer, error) {
	return layer(func(archive *tar.Writer) error {
		for _, name := range names {
			header := entry(name, tar.TypeDir)
			header.Name += "/"
			header.Mode = 0o1777
			if err := archive.WriteHeader(header); err != nil {
				return err
			}
		}
		return nil
	})
}

func textLayer(texts map[string]string) (v1.Layer, error) {
	return layer(func(archive *tar.Writer) error {
		for _, name := range slices.Sorted(maps.Keys(texts)) {
			header := entry(name, tar.TypeReg)
			header.Mode, header.Size = 0o644, int64(len(texts[name]))
			if err := archive.WriteHeader(header); err != nil {
				return err
			}
			if _, err := io.WriteString(archive, texts[name]); err != nil {
				return err
			}
		}
		return nil
	})
}

func writableLayer(names []string) (v1.Layer, error) {
	return layer(func(archive *tar.Writer) error {
		for _, name := range names {
			header := entry(name, tar.TypeReg)
			header.Mode = 0o666
			if err := archive.WriteHeader(header); err != nil {
				return err
			}
		}
		return nil
	})
}

func linkLayer(links map[string]string) (v1.Layer, error) {
	return layer(func(archive *tar.Writer) error {
		for _, name := range slices.Sorted(maps.Keys(links)) {
			header := entry(name, tar.TypeSymlink)
			header.Linkname = links[name]
			if err := archive.WriteHeader(header); err != nil {
				return err
			}
		}
		return nil
	})
}

func debianLayer(ctx context.Context, d debian, names []string) (v1.Layer, error) {
	files, err := d.packages(ctx, names...)
	if err != nil {
		return nil, err
	}
	libraries := libraries{} // checked at the end
	return layer(func(archive *tar.Writer) error {
		for _, file := range files {
			err := d.files(ctx, file, func(found *tar.Header, content io.Reader) error {
				header := entry(found.Name, found.Typeflag)
				header.Mode, header.Size, header.Linkname = found.Mode, found.Size, found.Linkname
				if err := archive.WriteHeader(header); err != nil {
					return err
				}
				data, err := io.ReadAll(content)
				if err != nil {
					return err
				}
				libraries.add(found.Name, data)
				_, err = archive.Write(data)
				return err
			})
			if err != nil {
				return err
			}
		}
		return libraries.checkComplete()
	})
}

// repositoryOf returns the repository with its registry as pods name it: docker.io, not the host that serves it.
func repositoryOf(tag name.Tag) string {
	if tag.RegistryStr() == name.DefaultRegistry {
		return path.Join("docker.io", tag.RepositoryStr())
	}
	return path.Join(tag.RegistryStr(), tag.RepositoryStr())
}

// put writes an image's layers, configuration and manifest, and then its tag.
func (m Mirror) put(tag name.Tag, image v1.Image) error {
	layers, err := image.Layers()
	if err != nil {
		return err
	}
	for _, layer := range layers {
		if err := m.putLayer(layer); err != nil {
			return err
		}
	}
	for _, part := range []struct {
		digest  func() (v1.Hash, error)
		content func() ([]byte, error)
	}{{image.ConfigName, image.RawConfigFile}, {image.Digest, image.RawManifest}} {
		digest, err := part.digest()
		if err != nil {
			return err
		}
		content, err := part.content()
		if err != nil {
			return err
		}
		if err := writeFile(m.layout().Blob(digest.String()), content); err != nil {
			return err
		}
	}
	digest, err := image.Digest()
	if err != nil {
		return err
	}
	return writeFile(m.layout().Tag(repositoryOf(tag), tag.TagStr()), []byte(digest.String()))
}

func (m Mirror) putLayer(layer v1.Layer) error {
	digest, err := layer.Digest()
	if err != nil {
		return err
	}
	blob := m.layout().Blob(digest.String())
	if exists(blob) || m.linkBlob(digest.String()) {
		return nil
	}
	content, err := layer.Compressed()
	if err != nil {
		return err
	}
	data, err := io.ReadAll(content)
	if err != nil {
		return err
	}
	return writeFile(blob, data)
}

// linkBlob links to a blob of another mirror in the same directory, as mirrors of different versions have most layers in
// common. It returns false if there is none. Blobs are only ever replaced, never written to, and have their digest as
// their name.
func (m Mirror) linkBlob(digest string) bool {
	blob := m.layout().Blob(digest)
	if err := os.MkdirAll(filepath.Dir(blob), 0o755); err != nil {
		return false // writing the blob will fail too, with a reason
	}
	others, err := filepath.Glob(filepath.Join(filepath.Dir(m.Dir), "mirror-*"))
	return err == nil && slices.ContainsFunc(others, func(dir string) bool {
		return os.Link(Mirror{Dir: dir}.layout().Blob(digest), blob) == nil
	})
}
