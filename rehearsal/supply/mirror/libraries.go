package mirror

import (
	"bytes"
	"debug/elf"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// libraries records which shared libraries an image has and which its files need.
type libraries struct {
	// neededBy maps a library's name to a file that needs it.
	neededBy map[string]string
	// present has the base names of all files and links.
	present map[string]bool
}

// add records a file or link, and the libraries it needs if it is a program or a library.
func (l *libraries) add(name string, content []byte) {
	if l.present == nil {
		*l = libraries{neededBy: map[string]string{}, present: map[string]bool{}}
	}
	l.present[path.Base(name)] = true
	binary, err := elf.NewFile(bytes.NewReader(content))
	if err != nil {
		return // not a binary: a text, for example
	}
	needed, err := binary.ImportedLibraries()
	if err != nil {
		return // no dynamic section: it is linked statically
	}
	for _, library := range needed {
		l.neededBy[library] = name
	}
}

// checkComplete returns an error that names the missing libraries. Otherwise only a running container would show them.
func (l *libraries) checkComplete() error {
	var missing []string
	for _, library := range slices.Sorted(maps.Keys(l.neededBy)) {
		if !l.present[library] {
			missing = append(missing, fmt.Sprintf("%s for %s", library, l.neededBy[library]))
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("its Debian packages lack %s; add the packages that contain them, which `dpkg -S` finds", strings.Join(missing, ", "))
	}
	return nil
}
