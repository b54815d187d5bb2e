package secrets

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"text/template"
)

// parse reads templates. Its errors quote them, which are no secret.
func parse(texts map[string]string) (map[string]*template.Template, error) {
	parsed := map[string]*template.Template{}
	for _, key := range slices.Sorted(maps.Keys(texts)) {
		t, err := template.New(key).Option("missingkey=error").Parse(texts[key])
		if err != nil {
			return nil, fmt.Errorf("reading the template of key %s: %w", key, err)
		}
		parsed[key] = t
	}
	return parsed, nil
}

// render makes a Secret's data of the templates and what was fetched. Its errors say nothing of values, as those of
// Go's own do, which may quote one.
func render(texts, fetched map[string]string) (map[string][]byte, error) {
	templates, err := parse(texts)
	if err != nil {
		return nil, err
	}
	data := map[string][]byte{}
	for key, t := range templates {
		var text bytes.Buffer
		if t.Execute(&text, fetched) != nil {
			return nil, fmt.Errorf("the template of key %s does not render with what was fetched: %v", key, slices.Sorted(maps.Keys(fetched)))
		}
		data[key] = text.Bytes()
	}
	return data, nil
}
