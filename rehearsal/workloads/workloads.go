// Package workloads is the application repository of the rehearsal: what Argo CD brings into the cluster from a git
// server. Its pods do nothing but answer; what depends on what, and where each runs, is as in a real one.
package workloads

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-billy/v6/osfs"
	"github.com/go-git/go-git/v6"
	"github.com/go-git/go-git/v6/plumbing"
	"github.com/go-git/go-git/v6/plumbing/cache"
	"github.com/go-git/go-git/v6/plumbing/filemode"
	"github.com/go-git/go-git/v6/plumbing/object"
	"github.com/go-git/go-git/v6/storage/filesystem"
)

// Name is what the repository's directory below the git server's is called, Branch what Argo CD follows, and Path where
// its Applications are.
const (
	Name   = "workloads.git"
	Branch = "develop"
	Path   = "clusters/dev/apps"
)

//go:embed repository
var embedded embed.FS

// Files is what the repository holds at first.
func Files() fs.FS {
	files, err := fs.Sub(embedded, "repository")
	if err != nil {
		panic(err) // the name is valid
	}
	return files
}

// Publish makes the branch of a bare repository hold exactly these files, as a commit upon what it held. It makes the
// repository where there is none, and no commit where nothing differs. It returns the branch's commit.
func Publish(dir string, files fs.FS, message string) (commit string, err error) {
	tree := map[string][]byte{}
	err = fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		tree[name], err = fs.ReadFile(files, name)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("publishing to %s: %w", dir, err)
	}
	r, err := open(dir)
	if err == nil {
		commit, err = r.commit(tree, message)
	}
	if err != nil {
		return "", fmt.Errorf("publishing to %s: %w", dir, err)
	}
	return commit, nil
}

// Change commits files that differ from what the branch of a bare repository holds, by their paths; nil removes one.
// It returns the commit.
func Change(dir string, files map[string][]byte, message string) (commit string, err error) {
	r, err := open(dir)
	if err != nil {
		return "", fmt.Errorf("changing %s: %w", dir, err)
	}
	tree, err := r.files()
	if err != nil {
		return "", fmt.Errorf("changing %s: %w", dir, err)
	}
	maps.Copy(tree, files)
	maps.DeleteFunc(tree, func(_ string, data []byte) bool { return data == nil })
	if commit, err = r.commit(tree, message); err != nil {
		return "", fmt.Errorf("changing %s: %w", dir, err)
	}
	return commit, nil
}

var branch = plumbing.NewBranchReferenceName(Branch)

type repository struct{ *git.Repository }

func open(dir string) (repository, error) {
	storage := filesystem.NewStorage(osfs.New(dir), cache.NewObjectLRUDefault())
	r, err := git.Open(storage, nil)
	if errors.Is(err, git.ErrRepositoryNotExists) {
		r, err = git.Init(storage, git.WithDefaultBranch(branch))
	}
	return repository{r}, err
}

// head is the branch's commit; nil where it has none.
func (r repository) head() (*object.Commit, error) {
	reference, err := r.Reference(branch, true)
	if errors.Is(err, plumbing.ErrReferenceNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return r.CommitObject(reference.Hash())
}

func (r repository) files() (map[string][]byte, error) {
	tree := map[string][]byte{}
	head, err := r.head()
	if err != nil || head == nil {
		return tree, err
	}
	files, err := head.Files()
	if err != nil {
		return nil, err
	}
	return tree, files.ForEach(func(f *object.File) error {
		text, err := f.Contents()
		tree[f.Name] = []byte(text)
		return err
	})
}

// first is the time of the first commit. Each next one is a minute later: the same files make the same commits.
var first = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

func (r repository) commit(files map[string][]byte, message string) (string, error) {
	tree, err := r.tree(files)
	if err != nil {
		return "", err
	}
	head, err := r.head()
	if err != nil {
		return "", err
	}
	who := object.Signature{Name: "rehearsal", Email: "rehearsal@eco2.example", When: first}
	c := &object.Commit{Message: message + "\n", TreeHash: tree}
	if head != nil {
		if head.TreeHash == tree {
			return head.Hash.String(), nil
		}
		who.When = head.Committer.When.Add(time.Minute)
		c.ParentHashes = []plumbing.Hash{head.Hash}
	}
	c.Author, c.Committer = who, who
	hash, err := r.store(c)
	if err != nil {
		return "", err
	}
	return hash.String(), r.Storer.SetReference(plumbing.NewHashReference(branch, hash))
}

// tree stores files and the directories that they are in.
func (r repository) tree(files map[string][]byte) (plumbing.Hash, error) {
	var tree object.Tree
	below := map[string]map[string][]byte{}
	for name, data := range files {
		directory, rest, deeper := strings.Cut(name, "/")
		if deeper {
			if below[directory] == nil {
				below[directory] = map[string][]byte{}
			}
			below[directory][rest] = data
			continue
		}
		hash, err := r.blob(data)
		if err != nil {
			return plumbing.ZeroHash, err
		}
		tree.Entries = append(tree.Entries, object.TreeEntry{Name: path.Base(name), Mode: filemode.Regular, Hash: hash})
	}
	for name, files := range below {
		hash, err := r.tree(files)
		if err != nil {
			return plumbing.ZeroHash, err
		}
		tree.Entries = append(tree.Entries, object.TreeEntry{Name: name, Mode: filemode.Dir, Hash: hash})
	}
	// Git sorts a directory as if its name ended with a slash.
	key := func(e object.TreeEntry) string {
		if e.Mode == filemode.Dir {
			return e.Name + "/"
		}
		return e.Name
	}
	slices.SortFunc(tree.Entries, func(a, b object.TreeEntry) int { return strings.Compare(key(a), key(b)) })
	return r.store(&tree)
}

func (r repository) blob(data []byte) (plumbing.Hash, error) {
	o := r.Storer.NewEncodedObject()
	o.SetType(plumbing.BlobObject)
	w, err := o.Writer()
	if err != nil {
		return plumbing.ZeroHash, err
	}
	_, err = io.Copy(w, bytes.NewReader(data))
	if err = errors.Join(err, w.Close()); err != nil {
		return plumbing.ZeroHash, err
	}
	return r.Storer.SetEncodedObject(o)
}

func (r repository) store(what interface {
	Encode(plumbing.EncodedObject) error
},
) (plumbing.Hash, error) {
	o := r.Storer.NewEncodedObject()
	if err := what.Encode(o); err != nil {
		return plumbing.ZeroHash, err
	}
	return r.Storer.SetEncodedObject(o)
}
