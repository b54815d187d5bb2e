package config

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestNames(t *testing.T) {
	for _, name := range []string{"dev", "prod", "d", "eu-1", strings.Repeat("a", 16)} {
		assert.Empty(t, nameProblems("eco2", name), name)
	}
	for _, name := range []string{"", "My_Stack", "Dev", "1dev", "dev-", "-dev", "dev.eu", strings.Repeat("a", 17)} {
		assert.Len(t, nameProblems("eco2", name), 1, name)
	}
	for _, name := range []string{"eco2", "sgp", "my-cluster", strings.Repeat("a", 32)} {
		assert.Empty(t, nameProblems(name, "dev"), name)
	}
	for _, name := range []string{"Eco2", "eco_2", "2eco", "awscluster", "ssm", "sg", "sg-1", strings.Repeat("a", 33)} {
		assert.Len(t, nameProblems(name, "dev"), 1, name)
	}
	// The longest valid names must fit into AWS's shortest limit: a role's name has at most 64 characters.
	assert.LessOrEqual(t, len(strings.Repeat("a", 32)+"-"+strings.Repeat("a", 16)+"-worker"), 64)
}
