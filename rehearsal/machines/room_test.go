package machines

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestShortages(t *testing.T) {
	assert.Empty(t, shortages("/var/lib/docker", diskTaken, memoryTaken))
	assert.Equal(t, []string{
		"note: the disk under /var/lib/docker has 4.5 GiB left, and 14 machines with all of the program take 14; make room, or expect what fails for it",
		"note: this host's memory has 1.0 GiB left, and 14 machines with all of the program take 8; make room, or expect what fails for it",
	}, shortages("/var/lib/docker", 9<<29, 1<<30))
}

func TestAvailable(t *testing.T) {
	assert.Equal(t, uint64(3<<20), available("MemTotal:  24689000 kB\nMemFree:  100 kB\nMemAvailable:   3072 kB\n"))
}
