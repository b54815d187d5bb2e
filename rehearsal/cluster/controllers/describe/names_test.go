package describe

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestNames(t *testing.T) {
	named := balancerName("eco2-dev", "eco2-dev")
	assert.Regexp(t, `^k8s-eco2dev-[0-9a-f]{10}$`, named)
	assert.Equal(t, named, balancerName("eco2-dev", "eco2-dev"))
	assert.NotEqual(t, named, balancerName("eco2-prod", "eco2-dev"), "an account may have several clusters")
	assert.Regexp(t, `^k8s-default-ingress-[0-9a-f]{10}$`, balancerName("eco2-dev", "default/ingress"))
	target := func(port string) string {
		return groupName("eco2-dev", "eco2-dev", "a-namespace", "a-long-service-name", port)
	}
	assert.Regexp(t, `^k8s-anamespa-alongser-[0-9a-f]{10}$`, target("80"))
	assert.NotEqual(t, target("80"), target("http"))
	for _, name := range []string{balancerName("eco2-dev", "a-group-with-a-name-that-is-long"), balancerName("eco2-dev", "a-namespace/a-long-ingress-name"), target("80")} {
		assert.LessOrEqual(t, len(name), 32)
	}
}
