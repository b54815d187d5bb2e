package world

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/internal/store"
)

// throwAwayFile is the file with the secrets that the owner of a real stack would keep.
const throwAwayFile = "throwaway.json"

// throwAway holds the world's throw-away values that tests use.
type throwAway struct {
	Passphrase, PrivateKey string
	Passwords              map[string]string
}

func readThrowAway(stateDir string) (values throwAway, err error) {
	data, err := os.ReadFile(filepath.Join(stateDir, throwAwayFile))
	if err == nil {
		err = json.Unmarshal(data, &values)
	}
	return values, err
}

// AddThrowAway adds a state directory's throw-away secrets to those that are searched for.
func (s *Secrets) AddThrowAway(stateDir string) error {
	values, err := readThrowAway(stateDir)
	if err != nil {
		return err
	}
	s.Add("the passphrase", values.Passphrase)
	for name, password := range values.Passwords {
		s.Add(name, password)
	}
	return s.AddKey("the SSH key", values.PrivateKey)
}

// ThrowAway returns the world's throw-away secrets.
func (w *World) ThrowAway() *Secrets {
	w.t.Helper()
	w.Open() // generates them
	s := &Secrets{}
	require.NoError(w.t, s.AddThrowAway(w.Dir))
	return s
}

// OwnHome gives the engine a home below the world's directory, in which it writes its own logs. The plugins are linked.
func (w *World) OwnHome() {
	w.t.Helper()
	home := filepath.Join(w.Dir, "home")
	require.NoError(w.t, os.Mkdir(home, 0o755))
	require.NoError(w.t, os.Symlink(filepath.Join(w.Tools.Home, "plugins"), filepath.Join(home, "plugins")))
	w.Tools.Home = home
}

// SecretsInFiles returns the secrets that are in plain text in a file of the world: in its state with all copies and
// histories, in logs of the engine, of its events and of calls, in the settings, and in the models. Two files may
// contain secrets, and must be readable by their owner only:
//
//   - throwaway.json.
//   - aws.db, the account. It may contain the values of SecureStrings, which AWS stores, and no secret elsewhere. It is
//     searched by objects, because the file also has freed pages.
//
// except are directories and files of the test itself, which are not searched.
func (w *World) SecretsInFiles(s *Secrets, except ...string) []string {
	w.t.Helper()
	owners := []string{throwAwayFile, aws.StateFile}
	except = append(except, owners...)
	found, searched, err := s.InFiles(w.Dir, func(path string) bool { return slices.Contains(except, path) })
	require.NoError(w.t, err)
	require.Greater(w.t, searched, 10, "files were searched")
	for _, name := range owners {
		info, err := os.Stat(filepath.Join(w.Dir, name))
		require.NoError(w.t, err)
		assert.Equal(w.t, os.FileMode(0o600), info.Mode(), name)
	}
	return append(found, w.inAccount(s)...)
}

func (w *World) inAccount(s *Secrets) (found []string) {
	w.t.Helper()
	require.NoError(w.t, store.Open(filepath.Join(w.Dir, aws.StateFile)).View(func(tx *store.Tx) error {
		kinds, err := tx.Kinds()
		if err != nil {
			return err
		}
		for _, kind := range kinds {
			err := store.Each(tx, kind, func(id string, value any) error {
				object, _ := value.(map[string]any)
				if kind == "parameter" && object["type"] == "SecureString" {
					delete(object, "value")
				}
				text, err := json.Marshal(value)
				for _, what := range s.In(id + string(text)) {
					found = append(found, aws.StateFile+": "+kind+" "+id+": "+what)
				}
				return err
			})
			if err != nil {
				return err
			}
		}
		return nil
	}))
	return found
}
