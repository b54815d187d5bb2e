package store

import (
	"errors"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestStore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "model.db")
	s := Open(path)
	require.NoError(t, s.View(func(tx *Tx) error {
		found, err := tx.Get("vpc", "a", new(string))
		assert.False(t, found, "the store is empty before the first update")
		return err
	}))
	require.NoError(t, s.Update(func(tx *Tx) error { return errors.Join(tx.Put("vpc", "b", "second"), tx.Put("vpc", "a", "first")) }))
	broken := errors.New("no")
	assert.ErrorIs(t, s.Update(func(tx *Tx) error { return errors.Join(tx.Delete("vpc", "a"), broken) }), broken)

	var all []string
	require.NoError(t, Open(path).View(func(tx *Tx) error {
		kinds, err := tx.Kinds()
		require.NoError(t, err)
		assert.Equal(t, []string{"vpc"}, kinds)
		return Each(tx, "vpc", func(id, value string) error {
			all = append(all, id+"="+value)
			return nil
		})
	}))
	assert.Equal(t, []string{"a=first", "b=second"}, all, "a failed update is rolled back, and IDs are in order")
}

// Several stores of one file stand for several processes.
func TestStoresShareAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "model.db")
	var group sync.WaitGroup
	for range 4 {
		s := Open(path)
		group.Go(func() {
			for range 25 {
				assert.NoError(t, s.Update(func(tx *Tx) error {
					var n int
					if _, err := tx.Get("count", "n", &n); err != nil {
						return err
					}
					return tx.Put("count", "n", n+1)
				}))
			}
		})
	}
	group.Wait()
	require.NoError(t, Open(path).View(func(tx *Tx) error {
		var n int
		_, err := tx.Get("count", "n", &n)
		assert.Equal(t, 100, n)
		return err
	}))
}
