// Package authority is the certificate authority that the rehearsal's machines and pods trust. It is stored in the user's
// cache directory, and this host does not have it in its own trust store, so it is not trusted anywhere else.
package authority

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"eco2/rehearsal/internal/filelock"
	"eco2/rehearsal/internal/setup"
)

const (
	// An authority is replaced when less than certificateLife of authorityLife is left, so that it outlives all
	// certificates that it issues.
	authorityLife   = 5 * 365 * 24 * time.Hour
	certificateLife = 365 * 24 * time.Hour
	// clockSkew is how long before the current time certificates become valid, as clocks may differ.
	clockSkew = time.Hour
)

// The two are in files of their own, because people hand the certificate to browsers and to curl.
const (
	certificateFile = "authority.pem"
	keyFile         = "authority.key"
	certificateType = "CERTIFICATE"
	keyType         = "PRIVATE KEY"
)

// TrustFile is the file in which programs on Linux look for trusted certificates. It has the authority's PEM in images
// whose programs connect to servers with its certificates.
const TrustFile = "/etc/ssl/certs/ca-certificates.crt"

// Authority is a certificate authority with its key.
type Authority struct {
	dir         string
	certificate *x509.Certificate
	key         crypto.Signer
}

// Open loads the user's authority. It creates one if there is none, or if it would expire before a certificate that it
// issues now.
func Open() (*Authority, error) {
	cache, err := setup.CacheDir()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(cache, "authority")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("creating the authority's directory: %w", err)
	}
	// So that two runs do not create an authority each.
	unlock, err := filelock.Lock(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, fmt.Errorf("locking the authority in %s: %w", dir, err)
	}
	defer unlock()
	if err := separateKey(dir); err != nil {
		return nil, err
	}
	a, err := Load(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case time.Now().Add(certificateLife).Before(a.certificate.NotAfter):
		return a, nil
	}
	return create(dir, authorityLife)
}

// separateKey moves the key out of the certificate's file, where earlier versions stored it too.
func separateKey(dir string) error {
	data, err := os.ReadFile(filepath.Join(dir, certificateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the authority: %w", err)
	}
	certificate, rest := pem.Decode(data)
	key, _ := pem.Decode(rest)
	if certificate == nil || key == nil {
		return nil
	}
	return store(dir, certificate, key)
}

// Load reads the authority in a directory, which may be read-only.
func Load(dir string) (*Authority, error) {
	certificate, err := load(dir, certificateFile, certificateType)
	if err != nil {
		return nil, err
	}
	key, err := load(dir, keyFile, keyType)
	if err != nil {
		return nil, err
	}
	a := &Authority{dir: dir}
	if a.certificate, err = x509.ParseCertificate(certificate); err != nil {
		return nil, fmt.Errorf("reading the authority's certificate in %s: %w", dir, err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("reading the authority's key in %s: %w", dir, err)
	}
	signer, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("reading the authority's key in %s: it cannot sign", dir)
	}
	a.key = signer
	return a, nil
}

// load returns the content of a PEM file.
func load(dir, name, typ string) ([]byte, error) {
	path := filepath.Join(dir, name)
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the authority: %w", err)
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != typ {
		return nil, fmt.Errorf("reading the authority: %s has no %s; remove it to get a new authority", path, typ)
	}
	return block.Bytes, nil
}

// Dir returns the directory in which the authority is stored.
func (a *Authority) Dir() string { return a.dir }

// PEM returns the authority's certificate, for trust stores.
func (a *Authority) PEM() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: certificateType, Bytes: a.certificate.Raw}))
}

// Issue issues a server certificate for names and IP addresses, with a new key. A name may begin with "*.".
func (a *Authority) Issue(hosts ...string) (tls.Certificate, error) {
	key, err := newKey()
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("issuing a certificate for %v: %w", hosts, err)
	}
	var names []string
	var addresses []net.IP
	for _, host := range hosts {
		if address := net.ParseIP(host); address != nil {
			addresses = append(addresses, address)
		} else {
			names = append(names, host)
		}
	}
	der, err := sign(&x509.Certificate{
		DNSNames: names, IPAddresses: addresses,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, certificateLife, a.certificate, key.Public(), a.key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("issuing a certificate for %v: %w", hosts, err)
	}
	return tls.Certificate{Certificate: [][]byte{der, a.certificate.Raw}, PrivateKey: key}, nil
}

func create(dir string, life time.Duration) (*Authority, error) {
	key, err := newKey()
	if err != nil {
		return nil, fmt.Errorf("creating an authority: %w", err)
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "Eco2 rehearsal"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	certificate, err := sign(template, life, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("creating an authority: %w", err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("creating an authority: %w", err)
	}
	// After a kill there is never a new key beside an old certificate: without a certificate, Open creates both again.
	if err := os.Remove(filepath.Join(dir, certificateFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("removing the expiring authority: %w", err)
	}
	err = store(dir, &pem.Block{Type: certificateType, Bytes: certificate}, &pem.Block{Type: keyType, Bytes: encoded})
	if err != nil {
		return nil, err
	}
	return Load(dir)
}

// store writes the key before the certificate, whose file may still have the only copy of the key: see separateKey.
func store(dir string, certificate, key *pem.Block) error {
	for _, file := range []struct {
		name  string
		block *pem.Block
	}{{keyFile, key}, {certificateFile, certificate}} {
		path := filepath.Join(dir, file.name)
		if err := os.WriteFile(path+".new", pem.EncodeToMemory(file.block), 0o600); err != nil {
			return fmt.Errorf("storing the authority: %w", err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			return fmt.Errorf("storing the authority: %w", err)
		}
	}
	return nil
}

func newKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// sign fills in a template's serial number and validity and signs it with the parent's key.
func sign(template *x509.Certificate, life time.Duration, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template.SerialNumber, template.NotBefore, template.NotAfter = serial, now.Add(-clockSkew), now.Add(life)
	return x509.CreateCertificate(rand.Reader, template, parent, public, key)
}
