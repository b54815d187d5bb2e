package bucket

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTrafficIsCountedAndDelayed(t *testing.T) {
	const delay = 30 * time.Millisecond
	b, err := Serve(t.Context(), delay)
	require.NoError(t, err)
	defer func() { require.NoError(t, b.Close()) }()
	put := func(text string) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+b.address+"/"+name+"/a/key", strings.NewReader(text))
		require.NoError(t, err)
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		assert.Equal(t, http.StatusOK, response.StatusCode)
	}
	started := time.Now()
	put("four")
	put("fifteen letters")
	assert.GreaterOrEqual(t, time.Since(started), 2*delay)
	assert.Equal(t, Traffic{Requests: 2, Sent: 19}, b.Take())
	assert.Equal(t, Traffic{}, b.Take())
}
