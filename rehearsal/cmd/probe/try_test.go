package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTryReportsOpenAndRefusedTargets(t *testing.T) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	packets, err := net.ListenPacket("udp4", "127.0.0.1:0")
	require.NoError(t, err)
	started := make(chan struct{})
	var outside atomic.Int32
	outside.Store(dns.RcodeRefused)
	server := &dns.Server{
		PacketConn: packets, NotifyStartedFunc: func() { close(started) },
		Handler: dns.HandlerFunc(func(w dns.ResponseWriter, m *dns.Msg) {
			reply := new(dns.Msg).SetReply(m)
			if dns.IsSubDomain("example.", m.Question[0].Name) {
				reply.Rcode = int(outside.Load())
			}
			_ = w.WriteMsg(reply)
		}),
	}
	go func() { _ = server.ActivateAndServe() }()
	<-started
	open, name := "tcp:"+listener.Addr().String(), "dns:"+packets.LocalAddr().String()

	next := "outside:" + packets.LocalAddr().String()
	assert.Equal(t, open+" open\n"+name+" open\n"+next+" open\n", tried(t, open, name, next))
	outside.Store(dns.RcodeServerFailure)
	assert.Equal(t, name+" open\n"+next+" filtered\n", tried(t, name, next))
	require.NoError(t, listener.Close())
	require.NoError(t, server.Shutdown())
	assert.Equal(t, open+" refused\n"+name+" refused\nudp:there error: \"udp:there\" is none of tcp:HOST:PORT, dns:HOST:PORT, outside:HOST:PORT and token:HOST:PORT\n",
		tried(t, open, name, "udp:there"))
}

func TestTryReportsWhetherTheMetadataServiceAnswers(t *testing.T) {
	answers := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "PUT /latest/api/token 60", r.Method+" "+r.URL.Path+" "+r.Header.Get("X-aws-ec2-metadata-token-ttl-seconds"))
		select {
		case <-answers:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(server.Close)
	target := "token:" + server.Listener.Addr().String()
	assert.Equal(t, target+" filtered\n", tried(t, target), "connected, but not answered")
	close(answers)
	assert.Equal(t, target+" open\n", tried(t, target))
}

func TestServedProbesTryTargets(t *testing.T) {
	server := httptest.NewServer(answers("a-node"))
	t.Cleanup(server.Close)
	open := "tcp:" + server.Listener.Addr().String()
	for path, want := range map[string]string{
		"/": "a-node",
		"/try?target=" + open + "&target=tcp:nothing": open + " open\ntcp:nothing error: dial tcp: address nothing: missing port in address\n",
	} {
		response, err := http.Get(server.URL + path)
		require.NoError(t, err)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, errors.Join(err, response.Body.Close()))
		assert.Equal(t, want, string(body))
	}
}

func tried(t *testing.T, targets ...string) string {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, try(t.Context(), &out, targets))
	return out.String()
}
