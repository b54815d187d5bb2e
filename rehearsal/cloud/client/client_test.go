package client

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// metadata starts a metadata service that returns the credentials of one role.
func metadata(t *testing.T) {
	t.Helper()
	role := map[string]string{
		"Code": "Success", "AccessKeyId": "ASIANODE", "SecretAccessKey": "secret", "Token": "session",
		"Expiration": time.Now().Add(time.Hour).UTC().Format(time.RFC3339),
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "60")
		switch r.URL.Path {
		case "/latest/api/token":
			_, _ = io.WriteString(w, "token")
		case "/latest/dynamic/instance-identity/document":
			assert.NoError(t, json.NewEncoder(w).Encode(map[string]string{"region": "eu-central-1"}))
		case "/latest/meta-data/iam/security-credentials/":
			_, _ = io.WriteString(w, "node")
		case "/latest/meta-data/iam/security-credentials/node":
			assert.NoError(t, json.NewEncoder(w).Encode(role))
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(server.Close)
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", server.URL)
}

func TestCall(t *testing.T) {
	metadata(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "session", r.Header.Get("X-Amz-Security-Token"))
		authorization := r.Header.Get("Authorization")
		assert.True(t, strings.HasPrefix(authorization, "AWS4-HMAC-SHA256 Credential=ASIANODE/"), authorization)
		assert.Contains(t, authorization, "/eu-central-1/ssm/aws4_request")
		assert.Contains(t, authorization, "x-amz-target")
		switch r.Header.Get("X-Amz-Target") {
		case "AmazonSSM.GetParameter":
			_, _ = io.Copy(w, r.Body)
		case "AmazonSSM.PutParameter":
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"__type":"AccessDeniedException","message":"no"}`)
		default:
			w.WriteHeader(http.StatusBadGateway)
		}
	}))
	t.Cleanup(server.Close)
	t.Setenv("AWS_ENDPOINT_URL", server.URL)
	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_DEFAULT_REGION", "")
	c, err := New(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "eu-central-1", c.Region())

	type parameter struct{ Name string }
	var out parameter
	require.NoError(t, c.Call(t.Context(), "ssm", "AmazonSSM.GetParameter", parameter{"/a"}, &out))
	assert.Equal(t, "/a", out.Name)

	err = c.Call(t.Context(), "ssm", "AmazonSSM.PutParameter", parameter{"/a"}, nil)
	assert.EqualError(t, err, "calling AmazonSSM.PutParameter: AccessDeniedException: no")
	var refused *Error
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, "AccessDeniedException", refused.Code)
	assert.EqualError(t, c.Call(t.Context(), "ssm", "AmazonSSM.Other", nil, nil), "calling AmazonSSM.Other: the service responded with 502 Bad Gateway")
}

func TestRegion(t *testing.T) {
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:0") // must not be called
	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_DEFAULT_REGION", "ap-northeast-2")
	c, err := New(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "ap-northeast-2", c.Region())
}
