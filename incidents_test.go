package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/template"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

const (
	incidentsPage = "docs/incidents.md"
	incidents     = 116 // of the previous cluster
)

// register is docs/incidents.yaml, whose first lines describe the fields.
type register struct {
	Sections []struct {
		Title, Text string
		Incidents   []incident
	}
	Open          []unguarded
	NotApplicable []unguarded `yaml:"notApplicable"`
}

type incident struct {
	ID, Title, Symptom, Cause, Outcome string
	Guards                             []guard
}

type guard struct {
	Does   string
	Checks []guardCheck
}

type guardCheck struct {
	Test                        string
	Cases                       []string
	Resource, Property, Matches string
	Untested                    string
	Edits                       []edit
}

// edit replaces a text that occurs once in a file.
type edit struct{ File, Old, New string }

type unguarded struct{ ID, Title, Reason string }

func readRegister(t *testing.T) (r register) {
	t.Helper()
	data, err := os.ReadFile("docs/incidents.yaml")
	require.NoError(t, err)
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	require.NoError(t, decoder.Decode(&r))
	return r
}

// Label describes a declared property for the page: "vpcId of Release external-dns".
func (c guardCheck) Label() string {
	of := "each resource"
	if resource := regexp.MustCompile(`^.*:(\w+) (.*)$`).FindStringSubmatch(c.Resource); resource != nil {
		of = "`" + strings.ReplaceAll(resource[1]+" "+resource[2], "|", `\|`) + "`"
		if resource[2] == ".*" {
			of = "each `" + resource[1] + "`"
		}
	}
	return "`" + c.Property + "` of " + of
}

// forEachCheck calls a function for each check of each guard.
func (r register) forEachCheck(each func(i incident, c guardCheck)) {
	for _, section := range r.Sections {
		for _, i := range section.Incidents {
			for _, g := range i.Guards {
				for _, c := range g.Checks {
					each(i, c)
				}
			}
		}
	}
}

// TestIncidentsGolden compares docs/incidents.md with the register. `make golden` writes it.
func TestIncidentsGolden(t *testing.T) {
	tmpl, err := template.New("incidents.md.tmpl").Funcs(template.FuncMap{"join": strings.Join}).ParseFiles("testdata/incidents.md.tmpl")
	require.NoError(t, err)
	var got strings.Builder
	require.NoError(t, tmpl.Execute(&got, readRegister(t)))
	if *update {
		require.NoError(t, os.WriteFile(incidentsPage, []byte(got.String()), 0o644))
		return
	}
	want, err := os.ReadFile(incidentsPage)
	require.NoError(t, err)
	assert.Equal(t, strings.Split(string(want), "\n"), strings.Split(got.String(), "\n"), "the register changed: go test -run Golden -update .")
}

// TestIncidents checks that every incident is in the register once, and that `make test` runs each test that it names.
// Whether these tests notice that a guard is missing is the subject of TestGuardsAreTested.
func TestIncidents(t *testing.T) {
	r, tests := readRegister(t), testFunctions(t)
	counts, outside, seen := map[string]int{}, map[string]int{}, map[string]bool{}
	once := func(id string) map[string]int {
		assert.False(t, seen[id], "incident %s is in the register twice", id)
		seen[id] = true
		if strings.HasPrefix(id, "X") {
			return outside
		}
		return counts
	}
	for _, section := range r.Sections {
		for _, i := range section.Incidents {
			count := once(i.ID)
			assert.NotContains(t, []string{i.Title, i.Symptom, i.Cause}, "", i.ID)
			assert.Contains(t, []string{"impossible", "caught"}, i.Outcome, i.ID)
			assert.NotEmpty(t, i.Guards, i.ID)
			count[i.Outcome]++
			count["guarded"]++
			tested := false
			for _, g := range i.Guards {
				assert.NotEmpty(t, g.Checks, "%s: %s", i.ID, g.Does)
				tested = tested || slices.ContainsFunc(g.Checks, func(c guardCheck) bool { return c.Untested == "" })
			}
			if tested {
				count["tested"]++
			}
		}
	}
	for _, u := range slices.Concat(r.Open, r.NotApplicable) {
		once(u.ID)
		assert.NotContains(t, []string{u.Title, u.Reason}, "", u.ID)
	}
	for number := 1; number <= incidents; number++ {
		assert.True(t, seen[strconv.Itoa(number)], "incident %d is missing", number)
	}
	r.forEachCheck(func(i incident, c guardCheck) {
		switch {
		case c.Test == "":
			assert.True(t, c.Untested != "" || c.Resource != "" && c.Matches != "", "%s: unknown kind of check", i.ID)
		case assert.NotEmpty(t, tests[c.Test], "%s: `make test` runs no %s", i.ID, c.Test):
			assert.True(t, len(c.Edits) > 0 || !tests[c.Test][0].product, "%s: %s, a test of the root module, needs edits", i.ID, c.Test)
			for _, name := range c.Cases {
				assert.Contains(t, tests[c.Test][0].literals, name, "%s: %s has no such case", i.ID, c.Test)
			}
		}
		for _, e := range c.Edits {
			text, err := os.ReadFile(e.File)
			require.NoError(t, err, i.ID)
			assert.Equal(t, 1, strings.Count(string(text), e.Old), "%s: %s must contain this once: %s", i.ID, e.File, e.Old)
		}
	})

	assert.Equal(t, incidents, counts["guarded"]+len(r.Open)+len(r.NotApplicable), "the counts do not add up")
	assert.Positive(t, outside["guarded"])
	t.Logf("incidents: %d of %d that can apply are guarded; %d do not apply", counts["guarded"], counts["guarded"]+len(r.Open), len(r.NotApplicable))
	t.Logf("of the %d: %d impossible by design, %d caught; %d with a test, %d without; open: %d",
		counts["guarded"], counts["impossible"], counts["caught"], counts["tested"], counts["guarded"]-counts["tested"], len(r.Open))
	t.Logf("faults of this program: %d guarded, %d with a test", outside["guarded"], outside["tested"])
}

// TestDeclaredGuards checks the guards that are properties of resources.
func TestDeclaredGuards(t *testing.T) {
	r := readRegister(t)
	forEachStack(t, func(t *testing.T, g *graph) {
		values := map[*declared]resource.PropertyValue{}
		for _, d := range g.resources {
			options, err := json.Marshal(d.RPC)
			require.NoError(t, err)
			value := map[string]any{}
			require.NoError(t, json.Unmarshal(options, &value))
			all := d.Inputs.MapRepl(nil, plainMap)
			all["options"] = value
			values[d] = resource.NewProperty(resource.NewPropertyMapFromMap(all))
		}
		r.forEachCheck(func(i incident, c guardCheck) {
			if c.Resource == "" {
				return
			}
			path, err := resource.ParsePropertyPath(c.Property)
			require.NoError(t, err, i.ID)
			found := 0
			for d, value := range values {
				if !regexp.MustCompile("^(" + c.Resource + ")$").MatchString(d.Type + " " + d.Name) {
					continue
				}
				found++
				text := ""
				if property, ok := path.Get(value); ok {
					text = fmt.Sprint(property.Mappable())
				}
				assert.Regexp(t, c.Matches, text, "%s: %s of %s", i.ID, c.Property, d.URN)
			}
			assert.Positive(t, found, "%s: there is no resource %s", i.ID, c.Resource)
		})
	})
}

// testFunction is a test that `make test` runs.
type testFunction struct {
	dir string
	// product says whether the test is in the root module.
	product bool
	// literals holds the strings in the test, among which are the names of its cases.
	literals map[string]bool
}

// testFunctions returns the tests of both modules by name, those of the root module first. `make test` runs all of them,
// and fails if one is skipped without need.
func testFunctions(t *testing.T) map[string][]testFunction {
	t.Helper()
	found := map[string][]testFunction{}
	require.NoError(t, filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		name := entry.Name()
		switch {
		case err != nil || path == ".":
			return err
		case entry.IsDir() && (strings.HasPrefix(name, ".") || name == "testdata" || name == "tools"):
			return filepath.SkipDir
		case entry.IsDir() || !strings.HasSuffix(name, "_test.go"):
			return nil
		}
		dir := filepath.Dir(path)
		if runs, err := build.Default.MatchFile(dir, name); err != nil || !runs {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, declaration := range file.Decls {
			f, ok := declaration.(*ast.FuncDecl)
			if !ok || f.Recv != nil || !strings.HasPrefix(f.Name.Name, "Test") {
				continue
			}
			test := testFunction{dir: "./" + dir, product: !strings.HasPrefix(path, "rehearsal/"), literals: map[string]bool{}}
			ast.Inspect(f, func(n ast.Node) bool {
				if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
					text, _ := strconv.Unquote(literal.Value)
					test.literals[text] = true
				}
				return true
			})
			at := len(found[f.Name.Name])
			if test.product {
				at = 0
			}
			found[f.Name.Name] = slices.Insert(found[f.Name.Name], at, test)
		}
		return nil
	}))
	return found
}
