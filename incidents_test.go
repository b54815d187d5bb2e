package main

import (
	"fmt"
	"go/ast"
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

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	register  = "docs/incidents.md"
	incidents = 116
)

// incident is a row of a table in the register.
type incident struct {
	line int
	// number is the number of an incident of the previous cluster. It is 0 for a fault that was found otherwise.
	number int
	cells  []string
	// kind is the last column of the table's header: Test, "What would be needed", or "Why not".
	kind string
}

func (i incident) String() string {
	return fmt.Sprintf("%s:%d: incident %s", register, i.line, i.cells[0])
}

// The register names what prevents the incidents of the previous cluster in this design. TestIncidents fails if it
// names a guard or a test that was renamed or removed.
func TestIncidents(t *testing.T) {
	rows := readRegister(t)
	tests := testFunctions(t)
	seen := map[string]incident{}
	counts, outside := map[string]int{}, map[string]int{}
	for _, row := range rows {
		if before, ok := seen[row.cells[0]]; ok {
			assert.Fail(t, "an incident has one row", "%s is in line %d already", row, before.line)
		}
		seen[row.cells[0]] = row
		assert.LessOrEqual(t, row.number, incidents, "%s: there is no such number", row)
		count := counts
		if row.number == 0 {
			count = outside
		}
		for i, cell := range row.cells {
			assert.NotEmpty(t, cell, "%s: column %d is empty", row, i+1)
		}
		switch row.kind {
		case "Test":
			if !assert.Len(t, row.cells, 5, "%s: No., what, here, guard, test", row) {
				continue
			}
			assert.Contains(t, []string{"impossible", "caught"}, row.cells[2], "%s", row)
			checkGuard(t, row, row.cells[3])
			if checkTests(t, row, row.cells[4], tests) {
				count["tested"]++
			}
			count["guarded"]++
			count[row.cells[2]]++
		case "What would be needed":
			assert.Len(t, row.cells, 3, "%s: No., what, what would be needed", row)
			for _, name := range regexp.MustCompile("`(Test[A-Z][A-Za-z]*)`").FindAllStringSubmatch(strings.Join(row.cells, " "), -1) {
				assert.NotEmpty(t, tests[name[1]], "%s: there is no test %s", row, name[1])
			}
			count["open"]++
		case "Why not":
			assert.Len(t, row.cells, 3, "%s: No., what, why not", row)
			count["not"]++
		default:
			assert.Fail(t, "unknown table", "%s is in a table whose last column is %q", row, row.kind)
		}
	}
	for number := 1; number <= incidents; number++ {
		assert.NotZero(t, seen[strconv.Itoa(number)].number, "%s: incident %d has no row", register, number)
	}
	canApply := counts["guarded"] + counts["open"]
	assert.Equal(t, incidents, canApply+counts["not"], "the counts do not add up")
	t.Logf("incidents: %d of %d that can apply are guarded; %d do not apply", counts["guarded"], canApply, counts["not"])
	t.Logf("of the %d: %d impossible by design, %d caught; %d with a test, %d without; open: %d",
		counts["guarded"], counts["impossible"], counts["caught"], counts["tested"], counts["guarded"]-counts["tested"], counts["open"])
	assert.Positive(t, outside["guarded"], "there are faults that were found outside; if not, this test does not see their table")
	t.Logf("found outside: %d guarded, %d with a test; open: %d", outside["guarded"], outside["tested"], outside["open"])
}

// foundOutside matches the number of a fault of this program that was found by comparing it with external sources.
var foundOutside = regexp.MustCompile(`^X[1-9]\d*$`)

// readRegister reads the rows of all tables whose first column is "No.".
func readRegister(t *testing.T) []incident {
	t.Helper()
	data, err := os.ReadFile(register)
	require.NoError(t, err)
	var rows []incident
	kind := ""
	for i, line := range strings.Split(string(data), "\n") {
		if !strings.HasPrefix(line, "|") {
			kind = ""
			continue
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for j := range cells {
			cells[j] = strings.TrimSpace(cells[j])
		}
		if cells[0] == "No." {
			kind = cells[len(cells)-1]
			continue
		}
		if kind == "" || strings.HasPrefix(cells[0], "-") {
			continue // another table, or the line below a header
		}
		number := 0
		if !foundOutside.MatchString(cells[0]) {
			var err error
			number, err = strconv.Atoi(cells[0])
			require.NoError(t, err, "%s:%d: a row begins with its number", register, i+1)
		}
		rows = append(rows, incident{line: i + 1, number: number, cells: cells, kind: kind})
	}
	return rows
}

var quoted = regexp.MustCompile("`([^`]+)`")

// checkGuard checks that everything that a row quotes is either a file of the repository or a text in one of the files
// that the row names: a function, an option, a line of a script.
func checkGuard(t *testing.T, row incident, cell string) {
	t.Helper()
	var text strings.Builder
	var rest []string
	for _, match := range quoted.FindAllStringSubmatch(cell, -1) {
		data, err := os.ReadFile(match[1])
		if err != nil {
			rest = append(rest, match[1])
		}
		text.Write(data)
	}
	assert.NotEmpty(t, text.String(), "%s: the guard names no existing file", row)
	for _, quote := range rest {
		assert.True(t, strings.Contains(text.String(), quote),
			"%s: %q is not a file, and is in none of the files that the guard names", row, quote)
	}
}

// checkTests checks that the tests and subtests exist, and reports whether one of them covers the guard. The cell of a
// row without such a test begins with "none" and gives the reason.
func checkTests(t *testing.T, row incident, cell string, known map[string][]map[string]bool) bool {
	t.Helper()
	names := quoted.FindAllStringSubmatch(cell, -1)
	without := regexp.MustCompile(`^none:? \S`).MatchString(cell)
	assert.True(t, without || len(names) > 0, "%s: the last column must name a test, or say none and give the reason", row)
	current := ""
	for _, match := range names {
		name := match[1]
		if strings.HasPrefix(name, "Test") && !strings.Contains(name, " ") {
			current = name
			assert.NotEmpty(t, known[name], "%s: there is no test %s", row, name)
			continue
		}
		if !assert.NotEmpty(t, current, "%s: %q is before the name of its test", row, name) {
			continue
		}
		assert.True(t, slices.ContainsFunc(known[current], func(subtests map[string]bool) bool { return subtests[name] }),
			"%s: %s has no subtest %q", row, current, name)
	}
	return !without
}

// testFunctions returns the test functions of both modules by name. Each has a list of sets of subtest names, one for
// each package that has a test of that name.
func testFunctions(t *testing.T) map[string][]map[string]bool {
	t.Helper()
	found := map[string][]map[string]bool{}
	require.NoError(t, filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && strings.HasPrefix(entry.Name(), ".") && path != ".":
			return filepath.SkipDir
		case entry.IsDir() || !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, declaration := range file.Decls {
			if f, ok := declaration.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") {
				found[f.Name.Name] = append(found[f.Name.Name], subtests(f))
			}
		}
		return nil
	}))
	return found
}

// subtests returns the names of a test's subtests: the string literals that it passes to t.Run or to a local function
// run that calls it. If a name comes from a table, it returns all literals in the table that can be a name.
func subtests(test *ast.FuncDecl) map[string]bool {
	names, table := map[string]bool{}, map[string]bool{}
	fromTable := false
	text := func(e ast.Expr, into map[string]bool) bool {
		literal, ok := e.(*ast.BasicLit)
		if !ok || literal.Kind != token.STRING {
			return false
		}
		value, err := strconv.Unquote(literal.Value)
		into[value] = err == nil
		return err == nil
	}
	ast.Inspect(test, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			if len(n.Args) != 2 {
				break
			}
			switch f := n.Fun.(type) {
			case *ast.SelectorExpr:
				if f.Sel.Name == "Run" && !text(n.Args[0], names) {
					fromTable = true
				}
			case *ast.Ident:
				if f.Name == "run" {
					text(n.Args[0], names)
				}
			}
		case *ast.CompositeLit:
			for i, element := range n.Elts {
				pair, ok := element.(*ast.KeyValueExpr)
				switch {
				case !ok && i == 0:
					text(element, table) // {"name", …}
				case ok && !text(pair.Key, table): // "name": {…}
					if key, ok := pair.Key.(*ast.Ident); ok && key.Name == "name" {
						text(pair.Value, table) // {name: "name"}
					}
				}
			}
		}
		return true
	})
	if fromTable {
		for name := range table {
			names[name] = true
		}
	}
	return names
}
