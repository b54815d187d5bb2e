package setup

import (
	"fmt"
	"os"
	"path/filepath"
)

// CacheDir returns the directory in which all checkouts keep what takes long to build.
func CacheDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding the user's cache directory: %w", err)
	}
	return filepath.Join(dir, "eco2"), nil
}
