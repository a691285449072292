package pki

import (
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

	"golang.org/x/sys/unix"

	"github.com/trunkline/trunkline/protocol"
)

// Usage says what a certificate is for.
type Usage uint8

// The usages.
const (
	Server Usage             = 1 << iota // identifies a listener (QUIC)
	Client                               // identifies a dialer
	Peer   = Server | Client             // between brokers (Raft)
	caLife = 10 * 365 * 24 * time.Hour
	// leafLife is long for a development cluster; Issue and Source.Renew replace a certificate after two thirds of it.
	leafLife = 365 * 24 * time.Hour
	// backdate tolerates clocks that differ between hosts.
	backdate = time.Hour
)

// Files are the paths of a certificate, its key and the authority that signed it. Cert and Key may be one file.
type Files struct {
	CA   string
	Cert string
	Key  string
}

// EnsureCA makes a development certificate authority in dir (ca.pem, ca-key.pem) unless there is one. Any number
// of processes may call it at once on one directory. It returns the path of ca.pem.
func EnsureCA(dir string) (caFile string, err error) { return ensureCA(dir, time.Now()) }

func ensureCA(dir string, now time.Time) (string, error) {
	unlock, err := lockDir(dir)
	if err != nil {
		return "", err
	}
	defer unlock()
	caFile, keyFile := caPaths(dir)
	switch _, err := os.Stat(caFile); {
	case err == nil:
		cert, err := readCertificate(caFile)
		if err != nil {
			return "", err
		}
		if now.After(cert.NotAfter) {
			return "", fmt.Errorf("pki: authority %s expired at %s: remove it and %s to have a new one made",
				caFile, cert.NotAfter.Format(time.RFC3339), keyFile)
		}
		return caFile, nil
	case !errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("pki: look for authority: %w", err)
	}
	if err := createCA(caFile, keyFile, now); err != nil {
		return "", fmt.Errorf("pki: create authority in %s: %w", dir, err)
	}
	return caFile, nil
}

// createCA writes the key before the certificate (Inv3).
func createCA(caFile, keyFile string, now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := newSerial()
	if err != nil {
		return err
	}
	tmpl := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "Trunkline development CA " + serial.Text(16)[:8]},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(caLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		return err
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return err
	}
	if err := writeFile(keyFile, keyPEM, 0o600); err != nil {
		return err
	}
	return writeFile(caFile, encodeCertificate(der), 0o644)
}

// Issue makes or renews dir/name.pem (certificate and key in one file), signed by the authority in dir. A
// certificate that covers hosts and usage and has at least a third of its life left is kept. A name made by
// BrokerName binds the certificate to that broker.
func Issue(dir, name string, hosts []string, usage Usage) (Files, error) {
	return issue(dir, name, hosts, usage, time.Now())
}

func issue(dir, name string, hosts []string, usage Usage, now time.Time) (Files, error) {
	if !protocol.ValidName(name) || name == "ca" || name == "ca-key" {
		return Files{}, fmt.Errorf("pki: issue: invalid name %q", name)
	}
	if usage&Peer == 0 {
		return Files{}, errors.New("pki: issue: no usage given")
	}
	unlock, err := lockDir(dir)
	if err != nil {
		return Files{}, err
	}
	defer unlock()
	caFile, keyFile := caPaths(dir)
	pair, err := tls.LoadX509KeyPair(caFile, keyFile)
	if err != nil {
		return Files{}, fmt.Errorf("pki: load authority: %w", err)
	}
	file := filepath.Join(dir, name+".pem")
	files := Files{CA: caFile, Cert: file, Key: file}
	if old, err := tls.LoadX509KeyPair(file, file); err == nil && good(old.Leaf, pair.Leaf, hosts, usage, now) {
		return files, nil
	}
	data, err := newLeaf(pair, name, hosts, usage, now)
	if err != nil {
		return Files{}, fmt.Errorf("pki: issue %s: %w", name, err)
	}
	if err := writeFile(file, data, 0o600); err != nil {
		return Files{}, fmt.Errorf("pki: issue %s: %w", name, err)
	}
	return files, nil
}

// good reports whether leaf needs no replacement.
func good(leaf, ca *x509.Certificate, hosts []string, usage Usage, now time.Time) bool {
	if leaf.CheckSignatureFrom(ca) != nil || needsRenewal(leaf, now) || now.Before(leaf.NotBefore) {
		return false
	}
	for _, h := range hosts {
		if leaf.VerifyHostname(h) != nil {
			return false
		}
	}
	var has Usage
	for _, u := range leaf.ExtKeyUsage {
		switch u {
		case x509.ExtKeyUsageServerAuth:
			has |= Server
		case x509.ExtKeyUsageClientAuth:
			has |= Client
		}
	}
	return has&usage == usage
}

// needsRenewal reports whether less than a third of the certificate's life is left.
func needsRenewal(leaf *x509.Certificate, now time.Time) bool {
	return leaf.NotAfter.Sub(now) < leaf.NotAfter.Sub(leaf.NotBefore)/3
}

func newLeaf(ca tls.Certificate, name string, hosts []string, usage Usage, now time.Time) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-backdate),
		NotAfter:     now.Add(leafLife),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		URIs:         brokerURI(name),
	}
	if usage&Server != 0 {
		tmpl.ExtKeyUsage = append(tmpl.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	if usage&Client != 0 {
		tmpl.ExtKeyUsage = append(tmpl.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		} else {
			tmpl.DNSNames = append(tmpl.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca.Leaf, &key.PublicKey, ca.PrivateKey)
	if err != nil {
		return nil, err
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	return append(encodeCertificate(der), keyPEM...), nil
}

func caPaths(dir string) (caFile, keyFile string) {
	return filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca-key.pem")
}

// lockDir creates dir if need be and takes its lock. The kernel releases a flock when its process dies, so that
// a crash never leaves the directory locked.
func lockDir(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("pki: create directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("pki: lock directory: %w", err)
	}
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EINTR) {
			_ = f.Close()
			return nil, fmt.Errorf("pki: lock directory %s: %w", dir, err)
		}
	}
	return func() { _ = f.Close() }, nil
}

// writeFile replaces path at once and durably. The directory's lock is held, so the temporary name is ours.
func writeFile(path string, data []byte, mode os.FileMode) error {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		_ = f.Close()
		return err
	}
	if err := f.Sync(); err != nil {
		_ = f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	return d.Sync()
}

func readCertificate(file string) (*x509.Certificate, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("pki: read certificate: %w", err)
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("pki: %s holds no PEM certificate", file)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("pki: parse %s: %w", file, err)
	}
	return cert, nil
}

func newSerial() (*big.Int, error) {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		return nil, err
	}
	b[0] = b[0]&0x7f | 0x40 // positive, and always 16 bytes long
	return new(big.Int).SetBytes(b), nil
}

func encodeCertificate(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
