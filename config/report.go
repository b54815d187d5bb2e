package config

import (
	"fmt"
	"strings"
)

// report collects the problems and warnings of a stack's settings.
type report struct {
	project, stack string
	// problems and warnings begin with the key that they are about.
	problems, warnings []string
}

// key returns the full name of a setting, as `pulumi config set` expects it.
func (r *report) key(name string) string { return r.project + ":" + name }

// problem reports that a setting is invalid, and what would be right.
func (r *report) problem(name, format string, args ...any) {
	r.problems = append(r.problems, r.key(name)+": "+fmt.Sprintf(format, args...))
}

// warning reports a consequence of a setting that is allowed.
func (r *report) warning(name, format string, args ...any) {
	r.warnings = append(r.warnings, r.key(name)+": "+fmt.Sprintf(format, args...))
}

// err returns an error that lists all problems, or nil if there are none.
func (r *report) err() error {
	if len(r.problems) == 0 {
		return nil
	}
	return fmt.Errorf("the configuration of stack %s has %d problem(s):\n  %s",
		r.stack, len(r.problems), strings.Join(r.problems, "\n  "))
}
