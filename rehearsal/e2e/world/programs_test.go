package world

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"eco2/rehearsal/engine/stack"
)

// The tests with machines build this program late in a run of hours, and must not fail then for a text that no longer
// occurs in the program.
func TestProgramWithPendingRedisOperator(t *testing.T) {
	w := &World{t: t, Options: stack.Options{Repo: "../../.."}}
	assert.FileExists(t, w.ProgramWithPendingRedisOperator())
}
