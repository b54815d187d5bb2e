package simulated

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"strconv"
	"time"

	"eco2/rehearsal/cluster/controllers"
	"eco2/rehearsal/cluster/model"
	"eco2/rehearsal/cluster/provider"
	"eco2/rehearsal/internal/store"
)

// kubeconfig returns the administrator's kubeconfig of a cluster, whose certificate is valid until a date. It is
// deterministic. Instead of the authority's certificate and the key it contains texts that describe them, in the same
// encoding.
func kubeconfig(cluster, server string, expires time.Time) string {
	encode := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	return fmt.Sprintf(`apiVersion: v1
kind: Config
clusters:
- name: kubernetes
  cluster:
    certificate-authority-data: %s
    server: %s
contexts:
- name: kubernetes-admin@kubernetes
  context:
    cluster: kubernetes
    user: kubernetes-admin
current-context: kubernetes-admin@kubernetes
users:
- name: kubernetes-admin
  user:
    client-certificate-data: %s
    client-key-data: %s
`, encode(authority(cluster)), server,
		encode(clientCertificate(cluster, expires)), encode("simulated client key of cluster "+cluster))
}

// clientCertificate returns a certificate that is valid until a date. Nobody verifies it, but the program reads the date.
func clientCertificate(cluster string, expires time.Time) string {
	seed := sha256.Sum256([]byte(cluster))
	key := ed25519.NewKeyFromSeed(seed[:])
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kubernetes-admin"}, NotBefore: expires.AddDate(-1, 0, 0), NotAfter: expires,
	}
	der, err := x509.CreateCertificate(nil, template, template, key.Public(), key)
	if err != nil {
		panic(err) // it depends on nothing from outside
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// authority returns the text that stands in for the certificate of a cluster's certificate authority.
func authority(cluster string) string { return "simulated certificate authority of cluster " + cluster }

// Connect implements provider.Connect. It connects to the cluster whose control plane is the machine at the address
// of the kubeconfig's server, and fails as a real client would if that machine cannot be reached or is none.
func (s *Hosts) Connect(_ context.Context, endpoint provider.Endpoint) (provider.Cluster, error) {
	server, err := url.Parse(endpoint.Server)
	if err != nil || server.Scheme != "https" {
		return nil, fmt.Errorf("the kubeconfig's server %q is not an https URL", endpoint.Server)
	}
	port, err := strconv.Atoi(server.Port())
	if err != nil {
		port = 443 // the default of https
	}
	machine, err := s.reach(server.Hostname(), port)
	if err != nil {
		return nil, err
	}
	st, err := s.state(machine.ID)
	if err != nil {
		return nil, err
	}
	if !st.ControlPlane || port != apiPort {
		return nil, fmt.Errorf("dial tcp %s: connect: connection refused", net.JoinHostPort(server.Hostname(), strconv.Itoa(port)))
	}
	if endpoint.CA != authority(st.Cluster) {
		return nil, fmt.Errorf("tls: failed to verify certificate: x509: certificate signed by unknown authority")
	}
	cluster := s.clusters.Cluster(st.Cluster)
	info, err := cluster.Info()
	if err == nil && info.Down {
		err = fmt.Errorf("dial tcp %s: connect: connection refused", net.JoinHostPort(server.Hostname(), strconv.Itoa(port)))
	}
	if err != nil {
		return nil, err
	}
	return s.controllers(cluster).Cluster(), nil
}

// Settle runs the controllers of all clusters up to the current time.
func (s *Hosts) Settle() error {
	running, err := s.Clusters()
	if err != nil {
		return err
	}
	for _, r := range running {
		if err := s.controllers(r.Cluster).Settle(); err != nil {
			return err
		}
	}
	return nil
}

// controllers returns the controllers of a cluster.
func (s *Hosts) controllers(cluster *model.Cluster) *controllers.Controllers {
	return controllers.New(cluster, s.stateDir, s.latency)
}

// Running is a cluster whose control plane's machine is running.
type Running struct {
	Cluster      *model.Cluster
	ControlPlane Machine
}

// Clusters lists the running clusters, ordered by the instance ids of their control planes.
func (s *Hosts) Clusters() ([]Running, error) {
	states := map[string]state{}
	var ids []string
	err := s.store.View(func(tx *store.Tx) error {
		return store.Each(tx, machineKind, func(id string, st state) error {
			if st.ControlPlane {
				states[id] = st
				ids = append(ids, id)
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("reading the simulated machines: %w", err)
	}
	var running []Running
	for _, id := range ids {
		machine, found, err := s.machines.ByID(id)
		if err != nil {
			return nil, err
		}
		if found && machine.Running {
			running = append(running, Running{s.clusters.Cluster(states[id].Cluster), machine})
		}
	}
	return running, nil
}
