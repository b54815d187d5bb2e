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

// libraries are the shared libraries of an image, by name: who needs them, and which are there.
type libraries struct {
	neededBy map[string]string
	there    map[string]bool
}

// add notes a file or link, and if it is a program or a library also what that needs.
func (l *libraries) add(name string, content []byte) {
	if l.there == nil {
		*l = libraries{neededBy: map[string]string{}, there: map[string]bool{}}
	}
	l.there[path.Base(name)] = true
	binary, err := elf.NewFile(bytes.NewReader(content))
	if err != nil {
		return // a text, say
	}
	needed, err := binary.ImportedLibraries()
	if err != nil {
		return // linked statically
	}
	for _, library := range needed {
		l.neededBy[library] = name
	}
}

// complete reports what is needed and not there, before a container is the first to notice.
func (l *libraries) complete() error {
	var missing []string
	for _, library := range slices.Sorted(maps.Keys(l.neededBy)) {
		if !l.there[library] {
			missing = append(missing, fmt.Sprintf("%s for %s", library, l.neededBy[library]))
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("its Debian packages lack %s; name the packages that have them, which `dpkg -S` tells", strings.Join(missing, ", "))
	}
	return nil
}
