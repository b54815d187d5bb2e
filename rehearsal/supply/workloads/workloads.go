// Package workloads holds the rehearsal's application repository, which Argo CD deploys from a git server. Its pods
// only answer requests; their dependencies and placement are as in a real repository.
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

// Name is the name of the repository's directory in the git server's directory. Branch is the branch that Argo CD
// follows. Path is the directory with its Applications.
const (
	Name   = "workloads.git"
	Branch = "develop"
	Path   = "clusters/dev/apps"
)

//go:embed repository
var embedded embed.FS

// Files returns the files of the repository's first commit.
func Files() fs.FS {
	files, err := fs.Sub(embedded, "repository")
	if err != nil {
		panic(err) // cannot happen: the name is valid
	}
	return files
}

// Publish commits exactly these files to the branch of the bare repository in dir, and returns the branch's commit. It
// creates the repository if it does not exist, and makes no commit if nothing differs.
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

// Change commits changed files, by their paths, to the branch of the bare repository in dir, and returns the commit. A
// nil value removes a file. Other files stay.
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

// head returns the branch's commit; nil if there is none.
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

// first is the time of the first commit. Each later commit is one minute after its parent, so that the same files
// result in the same commit ids.
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

// tree stores the files and their directories, and returns the hash of the root tree.
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
