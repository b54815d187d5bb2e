package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// SSH implements Host for real machines.
type SSH struct {
	// FirstDelay is the pause after the first failed attempt to connect. Each further pause is 1.5 times as long as
	// the one before, up to MaxDelay.
	FirstDelay, MaxDelay time.Duration
}

// NewSSH returns an SSH with the pauses of pulumi-command.
func NewSSH() SSH { return SSH{FirstDelay: 100 * time.Millisecond, MaxDelay: 5 * time.Second} }

// Run implements Host.
func (s SSH) Run(ctx context.Context, session Session) (int, error) {
	config, cleanup, err := clientConfig(session.Connection)
	if err != nil {
		return 0, err
	}
	defer cleanup()
	client, err := s.dial(ctx, session, config)
	if err != nil {
		return 0, err
	}
	defer func() { _ = client.Close() }() // the error does not matter: the exit status has arrived, or never will
	// A cancelled operation does not wait for its command. Closing the connection ends the command.
	defer context.AfterFunc(ctx, func() { _ = client.Close() })()

	exit, err := execute(client, session)
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	return exit, err
}

func execute(client *ssh.Client, session Session) (int, error) {
	channel, err := client.NewSession()
	if err != nil {
		return 0, fmt.Errorf("opening a session on %s: %w", session.Connection.Host, err)
	}
	defer func() { _ = channel.Close() }() // usually an error: the channel is closed when its command ends
	for _, v := range session.Environment {
		if err := channel.Setenv(v.Name, v.Value); err != nil {
			if !v.Optional {
				return 0, fmt.Errorf("setting environment variable %s: %w (does AcceptEnv of the machine's sshd name it?)", v.Name, err)
			}
			session.Warn(fmt.Sprintf("the machine refused the environment variable %s; set addPreviousOutputInEnv to false, or add it to AcceptEnv of the machine's sshd", v.Name))
		}
	}
	if session.Stdin != "" {
		channel.Stdin = strings.NewReader(session.Stdin)
	}
	channel.Stdout, channel.Stderr = session.Stdout, session.Stderr
	err = channel.Run(session.Command)
	var exit *ssh.ExitError
	if errors.As(err, &exit) && exit.Signal() == "" {
		return exit.ExitStatus(), nil
	}
	return 0, err
}

// dial tries to connect until it succeeds or DialErrorLimit is reached. Every failure counts as an attempt: a refused
// key as well as a machine that still boots.
func (s SSH) dial(ctx context.Context, session Session, config *ssh.ClientConfig) (*ssh.Client, error) {
	connection := session.Connection
	delay := s.FirstDelay
	for attempt := 1; ; attempt++ {
		client, err := dialOnce(ctx, connection, config)
		if err == nil {
			return client, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if connection.DialErrorLimit >= 0 && attempt >= connection.DialErrorLimit {
			return nil, GaveUp(attempt, err)
		}
		session.Status(fmt.Sprintf("attempt %d to connect to %s failed, trying again: %v", attempt, connection.Host, err))
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		delay = min(delay*3/2, s.MaxDelay)
	}
}

func dialOnce(ctx context.Context, c Connection, config *ssh.ClientConfig) (*ssh.Client, error) {
	if c.PerDialTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(c.PerDialTimeout)*time.Second)
		defer cancel()
	}
	address := net.JoinHostPort(c.Host, strconv.Itoa(c.Port))
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	// The timeout includes the handshake: a machine that boots may accept the connection and send nothing.
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	client, channels, requests, err := ssh.NewClientConn(conn, address, config)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return ssh.NewClient(client, channels, requests), nil
}

// clientConfig returns an SSH configuration with the connection's credentials. Its errors do not quote them. cleanup
// closes the connection to the SSH agent, if there is one.
func clientConfig(c Connection) (config *ssh.ClientConfig, cleanup func(), err error) {
	cleanup = func() {}
	config = &ssh.ClientConfig{User: c.User, HostKeyCallback: ssh.InsecureIgnoreHostKey()} //nolint:gosec // upstream's rule: unchecked unless hostKey is set
	if c.HostKey != "" {
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(c.HostKey))
		if err != nil {
			return nil, cleanup, fmt.Errorf("reading connection.hostKey: %w", err)
		}
		config.HostKeyCallback = ssh.FixedHostKey(key)
		config.HostKeyAlgorithms = []string{key.Type()}
		if key.Type() == ssh.KeyAlgoRSA {
			config.HostKeyAlgorithms = []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
		}
	}
	if c.PrivateKey != "" {
		signer, err := c.ParseKey()
		if err != nil {
			return nil, cleanup, err
		}
		config.Auth = append(config.Auth, ssh.PublicKeys(signer))
	}
	if c.Password != "" {
		config.Auth = append(config.Auth, ssh.Password(c.Password),
			ssh.KeyboardInteractive(func(_, _ string, questions []string, _ []bool) ([]string, error) {
				answers := make([]string, len(questions))
				for i := range answers {
					answers[i] = c.Password
				}
				return answers, nil
			}))
	}
	if c.AgentSocketPath != "" {
		conn, err := net.Dial("unix", c.AgentSocketPath)
		if err != nil {
			return nil, cleanup, fmt.Errorf("reaching the SSH agent: %w", err)
		}
		cleanup = func() { _ = conn.Close() }
		config.Auth = append(config.Auth, ssh.PublicKeysCallback(agent.NewClient(conn).Signers))
	}
	return config, cleanup, nil
}

// ParseKey parses the connection's private key. Its errors do not quote the key.
func (c Connection) ParseKey() (ssh.Signer, error) {
	if c.PrivateKeyPassword != "" {
		signer, err := ssh.ParsePrivateKeyWithPassphrase([]byte(c.PrivateKey), []byte(c.PrivateKeyPassword))
		if err != nil {
			return nil, errors.New("reading connection.privateKey: it is not a private key, or privateKeyPassword is wrong")
		}
		return signer, nil
	}
	signer, err := ssh.ParsePrivateKey([]byte(c.PrivateKey))
	if err != nil {
		return nil, errors.New("reading connection.privateKey: it is not a private key, or it is encrypted and needs privateKeyPassword")
	}
	return signer, nil
}
