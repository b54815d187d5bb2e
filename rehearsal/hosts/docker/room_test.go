package docker

import (
	"fmt"
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The documents state the same memory and disk for 14 machines as the shortage messages of a host compare with.
func TestDocumentedMemoryAndDisk(t *testing.T) {
	requirements, err := os.ReadFile("../../../docs/rehearsal.md")
	require.NoError(t, err)
	benchmarks, err := os.ReadFile("../../../docs/benchmarks.md")
	require.NoError(t, err)
	memory := regexp.MustCompile(`(\d+) GiB(?: of memory at rest|: the control plane)`).FindAllSubmatch(append(requirements, benchmarks...), -1)
	require.Len(t, memory, 2)
	for _, figure := range memory {
		assert.Equal(t, fmt.Sprint(memoryTaken>>30), string(figure[1]))
	}
	assert.Contains(t, string(requirements), fmt.Sprintf("%d GB for the 14 machines", diskTaken/1_000_000_000))
}

func TestShortages(t *testing.T) {
	assert.Empty(t, shortages("/var/lib/docker", diskTaken, memoryTaken))
	assert.Equal(t, []string{
		"note: the disk under /var/lib/docker has 4.5 GiB left, and 14 machines with the whole program take 22 GiB; free some, or expect failures for lack of it",
		"note: this host's memory has 1.0 GiB left, and 14 machines with the whole program take 13 GiB; free some, or expect failures for lack of it",
	}, shortages("/var/lib/docker", 9<<29, 1<<30))
}

func TestAvailable(t *testing.T) {
	assert.Equal(t, uint64(3<<20), available("MemTotal:  24689000 kB\nMemFree:  100 kB\nMemAvailable:   3072 kB\n"))
}
