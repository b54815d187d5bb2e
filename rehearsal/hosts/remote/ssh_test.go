package remote

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"eco2/rehearsal/internal/printed"
)

// sshd is an SSH server in this process. It has five commands: "cat" echoes its input, "fail" writes to both streams
// and exits with 3, "env" prints the last accepted environment variable, "drop" closes the connection, and "hang"
// never exits.
type sshd struct {
	address  string
	hostKey  ssh.Signer
	accepted atomic.Int32
	// refusedFirst is how many connections the server closes at once, like a machine that boots.
	refusedFirst int32
}

func newKey(t *testing.T) (ssh.Signer, string) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	signer, err := ssh.NewSignerFromKey(private)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKey(private, "")
	require.NoError(t, err)
	return signer, string(pem.EncodeToMemory(block))
}

func startSSHD(t *testing.T, authorized ssh.PublicKey, refusedFirst int32) *sshd {
	t.Helper()
	hostKey, _ := newKey(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	d := &sshd{address: listener.Addr().String(), hostKey: hostKey, refusedFirst: refusedFirst}
	config := &ssh.ServerConfig{
		PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if !bytes.Equal(key.Marshal(), authorized.Marshal()) {
				return nil, errors.New("another key")
			}
			return nil, nil
		},
	}
	config.AddHostKey(hostKey)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			if d.accepted.Add(1) <= refusedFirst {
				_ = conn.Close()
				continue
			}
			go d.serve(conn, config)
		}
	}()
	return d
}

func (d *sshd) serve(conn net.Conn, config *ssh.ServerConfig) {
	server, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	go ssh.DiscardRequests(requests)
	for open := range channels {
		channel, requests, err := open.Accept()
		if err != nil {
			return
		}
		env := ""
		for request := range requests {
			switch request.Type {
			case "env":
				var v struct{ Name, Value string }
				_ = ssh.Unmarshal(request.Payload, &v)
				ok := strings.HasPrefix(v.Name, "LC_")
				if ok {
					env = v.Value
				}
				_ = request.Reply(ok, nil)
			case "exec":
				var c struct{ Line string }
				_ = ssh.Unmarshal(request.Payload, &c)
				_ = request.Reply(true, nil)
				var status uint32
				switch c.Line {
				case "cat":
					_, _ = io.Copy(channel, channel)
				case "env":
					_, _ = io.WriteString(channel, env)
				case "fail":
					_, _ = io.WriteString(channel, "out\n")
					_, _ = io.WriteString(channel.Stderr(), "err\n")
					status = 3
				case "drop":
					_ = conn.Close()
					return
				case "hang":
					continue
				}
				_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
				_ = channel.Close()
			}
		}
	}
}

func (d *sshd) connection(t *testing.T, key string) Connection {
	t.Helper()
	host, portText, err := net.SplitHostPort(d.address)
	require.NoError(t, err)
	port, err := net.LookupPort("tcp", portText)
	require.NoError(t, err)
	return Connection{Host: host, Port: port, User: "ubuntu", PrivateKey: key, DialErrorLimit: 3, PerDialTimeout: 2}
}

var fast = SSH{FirstDelay: time.Millisecond, MaxDelay: 2 * time.Millisecond}

func TestSSH(t *testing.T) {
	signer, key := newKey(t)
	_, otherKey := newKey(t)
	otherHost, _ := newKey(t)
	for name, test := range map[string]struct {
		session      Session
		change       func(*Connection, *sshd)
		refusedFirst int32
		wantExit     int
		wantOut      string
		wantErr      string
		wantAccepted int32
		wantWarnings int
	}{
		"stdin and stdout":     {session: Session{Command: "cat", Stdin: "hello"}, wantOut: "hello", wantAccepted: 1},
		"no stdin":             {session: Session{Command: "cat"}, wantAccepted: 1},
		"exit status":          {session: Session{Command: "fail"}, wantExit: 3, wantOut: "err\nout\n", wantAccepted: 1},
		"accepted environment": {session: Session{Command: "env", Environment: []Variable{{Name: "LC_X", Value: "v"}}}, wantOut: "v", wantAccepted: 1},
		"refused environment is an error": {
			session: Session{Command: "env", Environment: []Variable{{Name: "SECRET", Value: "v"}}}, wantErr: "setting environment variable SECRET", wantAccepted: 1,
		},
		"refused previous output is a warning": {
			session:      Session{Command: "env", Environment: []Variable{{Name: "PULUMI_COMMAND_STDOUT", Value: "v", Optional: true}}},
			wantWarnings: 1, wantAccepted: 1,
		},
		"a booting machine is tried again": {session: Session{Command: "cat"}, refusedFirst: 2, wantAccepted: 3},
		"attempts are limited":             {session: Session{Command: "cat"}, refusedFirst: 99, wantErr: "after 3 failed attempts", wantAccepted: 3},
		"without a limit": {
			session: Session{Command: "cat"}, refusedFirst: 20, wantAccepted: 21,
			change: func(c *Connection, _ *sshd) { c.DialErrorLimit = -1 },
		},
		"a refused key uses up the attempts too": {
			session: Session{Command: "cat"}, wantErr: "after 3 failed attempts: ssh: handshake failed: ssh: unable to authenticate", wantAccepted: 3,
			change: func(c *Connection, _ *sshd) { c.PrivateKey = otherKey },
		},
		"the right host key": {
			session: Session{Command: "cat"}, wantAccepted: 1,
			change: func(c *Connection, d *sshd) { c.HostKey = string(ssh.MarshalAuthorizedKey(d.hostKey.PublicKey())) },
		},
		"another host key": {
			session: Session{Command: "cat"}, wantErr: "host key mismatch", wantAccepted: 3,
			change: func(c *Connection, _ *sshd) { c.HostKey = string(ssh.MarshalAuthorizedKey(otherHost.PublicKey())) },
		},
		"a dropped connection": {session: Session{Command: "drop"}, wantErr: "remote command exited without exit status", wantAccepted: 1},
	} {
		t.Run(name, func(t *testing.T) {
			d := startSSHD(t, signer.PublicKey(), test.refusedFirst)
			connection := d.connection(t, key)
			if test.change != nil {
				test.change(&connection, d)
			}
			out, warnings := &printed.Text{}, 0 // for both streams of a session
			s := test.session
			s.Connection, s.Stdout, s.Stderr = connection, out, out
			s.Status, s.Warn = func(string) {}, func(string) { warnings++ }
			exit, err := fast.Run(context.Background(), s)
			if test.wantErr != "" {
				require.ErrorContains(t, err, test.wantErr)
				assert.NotContains(t, err.Error(), "PRIVATE KEY")
			} else {
				require.NoError(t, err)
			}
			assert.Equal(t, test.wantExit, exit)
			assert.Equal(t, sorted(test.wantOut), sorted(out.String()), "the two streams may mix")
			assert.Equal(t, test.wantAccepted, d.accepted.Load())
			assert.Equal(t, test.wantWarnings, warnings)
		})
	}
}

func sorted(text string) []string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		for j := i; j > 0 && lines[j] < lines[j-1]; j-- {
			lines[j], lines[j-1] = lines[j-1], lines[j]
		}
	}
	return lines
}

func TestSSHStopsWithItsContext(t *testing.T) {
	signer, key := newKey(t)
	for name, command := range map[string]string{"in a command": "hang", "in the dial": "cat"} {
		t.Run(name, func(t *testing.T) {
			d := startSSHD(t, signer.PublicKey(), map[string]int32{"hang": 0, "cat": 1 << 30}[command])
			connection := d.connection(t, key)
			connection.DialErrorLimit = -1
			ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
			defer cancel()
			_, err := fast.Run(ctx, Session{
				Connection: connection, Command: command, Stdout: io.Discard, Stderr: io.Discard,
				Status: func(string) {}, Warn: func(string) {},
			})
			require.ErrorIs(t, err, context.DeadlineExceeded)
		})
	}
}
