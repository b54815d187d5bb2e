package secrets

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"text/template"
)

// parse parses templates. Its errors quote the templates, which are not secret.
func parse(texts map[string]string) (map[string]*template.Template, error) {
	parsed := map[string]*template.Template{}
	for _, key := range slices.Sorted(maps.Keys(texts)) {
		t, err := template.New(key).Option("missingkey=error").Parse(texts[key])
		if err != nil {
			return nil, fmt.Errorf("parsing the template of key %s: %w", key, err)
		}
		parsed[key] = t
	}
	return parsed, nil
}

// render executes the templates with the fetched values and returns a Secret's data. Its errors do not wrap those of
// text/template, which may quote a value.
func render(texts, fetched map[string]string) (map[string][]byte, error) {
	templates, err := parse(texts)
	if err != nil {
		return nil, err
	}
	data := map[string][]byte{}
	for key, t := range templates {
		var text bytes.Buffer
		if t.Execute(&text, fetched) != nil {
			return nil, fmt.Errorf("executing the template of key %s failed; the fetched keys are %v", key, slices.Sorted(maps.Keys(fetched)))
		}
		data[key] = text.Bytes()
	}
	return data, nil
}
