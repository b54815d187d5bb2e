// Package bucket serves an S3 bucket from this machine, with the latency of one on AWS, and counts its traffic. The
// bench uses it to measure the cost of a state in a bucket.
package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

const name = "state"

// Bucket is a bucket in this process's memory. It needs no credentials, as only this machine can reach it.
type Bucket struct {
	address  string
	delay    time.Duration
	server   *http.Server
	requests atomic.Int64
	bytes    atomic.Int64
}

// Serve starts an empty bucket, which delays each request by delay in addition to the time to process it. Stop it with
// Close.
func Serve(ctx context.Context, delay time.Duration) (*Bucket, error) {
	memory := s3mem.New()
	if err := memory.CreateBucket(name); err != nil {
		return nil, fmt.Errorf("creating the bucket: %w", err)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("serving a bucket: %w", err)
	}
	b := &Bucket{address: listener.Addr().String(), delay: delay}
	b.server = &http.Server{Handler: b.counted(gofakes3.New(memory).Server()), ReadHeaderTimeout: time.Minute}
	go func() {
		if err := b.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			panic(fmt.Sprintf("serving a bucket: %v", err))
		}
	}()
	return b, nil
}

// Close stops serving the bucket. Its contents are lost.
func (b *Bucket) Close() error { return b.server.Close() }

// Environ returns the environment variables that make the pulumi command store its state in the bucket.
func (b *Bucket) Environ() []string {
	return []string{
		"PULUMI_BACKEND_URL=s3://" + name + "?endpoint=http://" + b.address + "&s3ForcePathStyle=true&region=ap-northeast-2",
		// The SDK needs credentials to sign requests; the bucket does not check them.
		"AWS_ACCESS_KEY_ID=none", "AWS_SECRET_ACCESS_KEY=none", "AWS_EC2_METADATA_DISABLED=true",
	}
}

// Traffic is a number of requests, and of the bytes in their bodies.
type Traffic struct{ Requests, Sent int64 }

// Take returns the traffic since the last call.
func (b *Bucket) Take() Traffic { return Traffic{Requests: b.requests.Swap(0), Sent: b.bytes.Swap(0)} }

func (b *Bucket) counted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.requests.Add(1)
		r.Body = counter{r.Body, &b.bytes}
		select {
		case <-time.After(b.delay):
		case <-r.Context().Done():
			return
		}
		next.ServeHTTP(w, r)
	})
}

type counter struct {
	io.ReadCloser
	n *atomic.Int64
}

func (c counter) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n.Add(int64(n))
	return n, err
}
