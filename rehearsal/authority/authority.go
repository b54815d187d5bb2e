// Package authority is the certificate authority that the rehearsal's pods trust in the place of the public ones. It
// is worth nothing elsewhere: it lies in the user's cache directory, and no host has it among its own.
package authority

import (
	"bytes"
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
	"os"
	"path/filepath"
	"time"

	"eco2/rehearsal/filelock"
)

const (
	// An authority is replaced while a certificate of its last day is still good.
	authorityLife   = 5 * 365 * 24 * time.Hour
	certificateLife = 365 * 24 * time.Hour
	// early is for clocks that differ.
	early = time.Hour
)

const (
	file            = "authority.pem"
	certificateType = "CERTIFICATE"
	keyType         = "PRIVATE KEY"
)

// TrustFile is where programs on Linux look for the certificates that they trust: an image whose programs call what
// the authority has signed has its PEM there.
const TrustFile = "/etc/ssl/certs/ca-certificates.crt"

// Authority signs certificates.
type Authority struct {
	dir         string
	certificate *x509.Certificate
	key         crypto.Signer
}

// Open finds the user's authority, and makes it where there is none or it has grown old.
func Open() (*Authority, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("finding the user's cache directory: %w", err)
	}
	dir := filepath.Join(cache, "eco2", "authority")
	unlock, err := lock(dir)
	if err != nil {
		return nil, fmt.Errorf("locking the authority in %s: %w", dir, err)
	}
	defer unlock()
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

// Load reads the authority in a directory, which may be read-only.
func Load(dir string) (*Authority, error) {
	data, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return nil, fmt.Errorf("reading the authority: %w", err)
	}
	a := &Authority{dir: dir}
	certificate, rest := pem.Decode(data)
	key, _ := pem.Decode(rest)
	if certificate == nil || key == nil {
		return nil, fmt.Errorf("reading the authority: %s is not a certificate and a key; remove it for a new one", filepath.Join(dir, file))
	}
	if a.certificate, err = x509.ParseCertificate(certificate.Bytes); err != nil {
		return nil, fmt.Errorf("reading the authority's certificate in %s: %w", dir, err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(key.Bytes)
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

// Dir is where the authority lies.
func (a *Authority) Dir() string { return a.dir }

// PEM is the authority's certificate, for those who are to trust it.
func (a *Authority) PEM() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: certificateType, Bytes: a.certificate.Raw}))
}

// Issue makes a server's certificate for names, with a key of its own. A name may begin with "*.".
func (a *Authority) Issue(names ...string) (tls.Certificate, error) {
	key, err := newKey()
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("issuing a certificate for %v: %w", names, err)
	}
	der, err := sign(&x509.Certificate{
		DNSNames: names, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, certificateLife, a.certificate, key.Public(), a.key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("issuing a certificate for %v: %w", names, err)
	}
	return tls.Certificate{Certificate: [][]byte{der, a.certificate.Raw}, PrivateKey: key}, nil
}

func create(dir string, life time.Duration) (*Authority, error) {
	key, err := newKey()
	if err != nil {
		return nil, fmt.Errorf("making an authority: %w", err)
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "Eco2 rehearsal"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	certificate, err := sign(template, life, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("making an authority: %w", err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("making an authority: %w", err)
	}
	var data bytes.Buffer
	for _, block := range []*pem.Block{{Type: certificateType, Bytes: certificate}, {Type: keyType, Bytes: encoded}} {
		if err := pem.Encode(&data, block); err != nil {
			return nil, fmt.Errorf("making an authority: %w", err)
		}
	}
	path := filepath.Join(dir, file)
	if err := os.WriteFile(path+".new", data.Bytes(), 0o600); err != nil {
		return nil, fmt.Errorf("keeping the authority: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return nil, fmt.Errorf("keeping the authority: %w", err)
	}
	return Load(dir)
}

func newKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// sign completes a template and has the parent's key sign it.
func sign(template *x509.Certificate, life time.Duration, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template.SerialNumber, template.NotBefore, template.NotAfter = serial, now.Add(-early), now.Add(life)
	return x509.CreateCertificate(rand.Reader, template, parent, public, key)
}

// lock keeps two runs from making an authority each; the kernel lets go of it when a run is killed.
func lock(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return filelock.Lock(filepath.Join(dir, "lock"))
}
