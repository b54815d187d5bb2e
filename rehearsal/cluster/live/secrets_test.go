package live

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWithoutSecrets(t *testing.T) {
	values := map[string]any{
		"grafana": map[string]any{"adminPassword": "correct horse"},
		"users":   []any{map[string]any{"token": "correct horse battery"}},
		"key":     "-----BEGIN KEY-----\nc2VjcmV0cw==\n",
		"name":    "greeter", "level": "info", "replicas": 3,
	}
	for text, want := range map[string]string{
		"'correct horse' does not match":         "'[the value of grafana.adminPassword]' does not match",
		"got correct horse battery, want number": "got [the value of users[0].token], want number",
		"data.x: Y29ycmVjdCBob3JzZQ==":           "data.x: [the value of grafana.adminPassword]",
		"line 2: c2VjcmV0cw==":                   "line 2: [the value of key]",
		"release greeter failed: more info":      "release greeter failed: more info",
	} {
		assert.EqualError(t, withoutSecrets(errors.New(text), values, "greeter"), want)
	}
	plain := errors.New("nothing of it")
	assert.Same(t, plain, withoutSecrets(plain, values))
	require.NoError(t, withoutSecrets(nil, values))
}
