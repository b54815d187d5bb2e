// Package apitest runs a real API server for tests: etcd, kube-apiserver, and a kube-controller-manager with the
// controllers that need no nodes, as processes on this host. There is no node, so a pod never becomes ready.
package apitest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"eco2/rehearsal/internal/needs"
	"eco2/rehearsal/supply/mirror"
)

// Token is the administrator's bearer token in the kubeconfig.
const Token = "apitest-administrator"

// startTimeout is how long an API server may take to become ready.
const startTimeout = time.Minute

// controllers lists the controllers that tests rely on: they empty and delete namespaces, delete the dependents of
// deleted owners, create pods for Deployments, and bind claims to volumes and release them.
const controllers = "namespace-controller,garbage-collector-controller,deployment-controller,replicaset-controller," +
	"persistentvolume-binder-controller,persistentvolumeclaim-protection-controller,persistentvolume-protection-controller"

// Server is a running API server.
type Server struct {
	// Kubeconfig is the text of the administrator's kubeconfig.
	Kubeconfig string

	// Dir is the server's own directory, which is deleted when it stops.
	Dir       string
	processes []*exec.Cmd
	// missing is why no server runs: a binary is not built, or -short is set. It is nil if the server runs.
	missing error
}

// Main starts an API server, runs a package's tests and exits; call it from TestMain. It stores the server in *server,
// and each test that uses the server calls its Need first. repo is the path of the project's checkout. args are
// additional arguments of the API server, in which DIR stands for the server's Dir.
func Main(m *testing.M, repo string, server **Server, args ...string) {
	flag.Parse()
	binaries, err := mirror.FindControlPlane(repo)
	if testing.Short() {
		*server = &Server{missing: errors.New("an API server takes seconds to start")}
	} else if err != nil {
		*server = &Server{missing: err}
	} else if *server, err = start(binaries, args); err != nil {
		fmt.Fprintln(os.Stderr, "starting an API server:", err)
		os.Exit(1)
	}
	code := m.Run()
	(*server).stop()
	os.Exit(code)
}

// Need fails the test if the server's binaries are not built, and skips it with -short.
func (s *Server) Need(t testing.TB) {
	t.Helper()
	needs.Built(t, s.missing)
}

func start(binaries mirror.ControlPlane, args []string) (s *Server, err error) {
	s = &Server{}
	defer func() {
		if err != nil {
			s.stop()
		}
	}()
	if s.Dir, err = os.MkdirTemp("", "eco2-apitest-"); err != nil {
		return nil, err
	}
	ports, err := freePorts(3)
	if err != nil {
		return nil, err
	}
	etcd, peers := "http://127.0.0.1:"+ports[0], "http://127.0.0.1:"+ports[1]
	key, tokens, err := s.credentials()
	if err != nil {
		return nil, err
	}
	if _, err := s.run(binaries.Etcd, "--data-dir="+filepath.Join(s.Dir, "etcd"), "--unsafe-no-fsync", "--log-level=error",
		"--listen-client-urls="+etcd, "--advertise-client-urls="+etcd,
		"--listen-peer-urls="+peers, "--initial-advertise-peer-urls="+peers, "--initial-cluster=default="+peers,
	); err != nil {
		return nil, err
	}
	certificates := filepath.Join(s.Dir, "certificates")
	for i, arg := range args {
		args[i] = strings.ReplaceAll(arg, "DIR", s.Dir)
	}
	apiServer, err := s.run(binaries.APIServer, append([]string{"--etcd-servers=" + etcd, "--cert-dir=" + certificates,
		"--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--secure-port=" + ports[2], "--endpoint-reconciler-type=none",
		"--token-auth-file=" + tokens, "--authorization-mode=RBAC", "--service-cluster-ip-range=10.96.0.0/16",
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file=" + key, "--service-account-signing-key-file=" + key,
		// No controller creates the service accounts that this plugin would require for pods.
		"--disable-admission-plugins=ServiceAccount",
	}, args...)...)
	if err != nil {
		return nil, err
	}
	if err := s.ready(apiServer, "https://127.0.0.1:"+ports[2], filepath.Join(certificates, "apiserver.crt")); err != nil {
		return nil, err
	}
	kubeconfig := filepath.Join(s.Dir, "kubeconfig")
	if err := os.WriteFile(kubeconfig, []byte(s.Kubeconfig), 0o600); err != nil {
		return nil, err
	}
	_, err = s.run(binaries.ControllerManager, "--kubeconfig="+kubeconfig, "--controllers="+controllers, "--leader-elect=false", "--secure-port=0")
	return s, err
}

// credentials writes the key that signs service account tokens, and the file with the administrator's token.
func (s *Server) credentials() (keyFile, tokenFile string, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return "", "", err
	}
	keyFile, tokenFile = filepath.Join(s.Dir, "key.pem"), filepath.Join(s.Dir, "tokens.csv")
	return keyFile, tokenFile, errors.Join(
		os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600),
		os.WriteFile(tokenFile, []byte(Token+`,admin,admin,"system:masters"`+"\n"), 0o600),
	)
}

// process is a started binary with its output. exited is closed when it has exited.
type process struct {
	output bytes.Buffer
	exited chan struct{}
}

func (s *Server) run(binary string, args ...string) (*process, error) {
	p := &process{exited: make(chan struct{})}
	cmd := exec.Command(binary, args...)
	cmd.Stdout, cmd.Stderr = &p.output, &p.output
	// So that a killed test leaves no process behind.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", filepath.Base(binary), err)
	}
	s.processes = append(s.processes, cmd)
	go func() {
		_ = cmd.Wait() // always an error: stop kills it
		close(p.exited)
	}()
	return p, nil
}

// ready waits until the API server is ready and sets s.Kubeconfig. certificate is the file to which the server writes
// its self-signed certificate.
func (s *Server) ready(p *process, address, certificate string) error {
	deadline := time.After(startTimeout)
	for {
		err := s.reach(address, certificate)
		if err == nil {
			return nil
		}
		select {
		case <-p.exited:
			return fmt.Errorf("the API server exited: %s", p.output.String())
		case <-deadline:
			return fmt.Errorf("the API server is not ready after %s: %w", startTimeout, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (s *Server) reach(address, certificate string) error {
	authority, err := os.ReadFile(certificate)
	if err != nil {
		return err
	}
	config := api.NewConfig()
	config.Clusters["apitest"] = &api.Cluster{Server: address, CertificateAuthorityData: authority}
	config.AuthInfos["admin"] = &api.AuthInfo{Token: Token}
	config.Contexts["admin"] = &api.Context{Cluster: "apitest", AuthInfo: "admin"}
	config.CurrentContext = "admin"
	text, err := clientcmd.Write(*config)
	if err != nil {
		return err
	}
	s.Kubeconfig = string(text)
	client, err := s.Client()
	if err != nil {
		return err
	}
	return client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(context.Background()).Error()
}

// Client returns a client with the administrator's credentials.
func (s *Server) Client() (*kubernetes.Clientset, error) {
	config, err := clientcmd.RESTConfigFromKubeConfig([]byte(s.Kubeconfig))
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(config)
}

func (s *Server) stop() {
	for _, cmd := range s.processes {
		_ = cmd.Process.Kill()
	}
	_ = os.RemoveAll(s.Dir)
}

// freePorts returns n TCP ports on which nothing listens at this moment.
func freePorts(n int) (ports []string, err error) {
	for range n {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer func() { _ = listener.Close() }()
		_, port, err := net.SplitHostPort(listener.Addr().String())
		if err != nil {
			return nil, err
		}
		ports = append(ports, port)
	}
	return ports, nil
}
