// Package pki makes and loads certificates.
package pki

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"time"
)

var errTODO = errors.New("pki: not there yet")

// Usage says what a certificate is for.
type Usage uint8

// The usages.
const (
	Server Usage = 1 << iota // identifies a listener (QUIC)
	Client                   // identifies a dialer
	Peer   = Server | Client // between brokers (Raft)
)

// Files are the paths of a certificate, its key and the authority that signed it.
type Files struct {
	CA   string
	Cert string
	Key  string
}

// EnsureCA makes a development certificate authority in dir (ca.pem, ca-key.pem) unless there is one. Any number
// of processes may call it at once on one directory. It returns the path of ca.pem.
func EnsureCA(dir string) (caFile string, err error) { return "", errTODO }

// Issue makes or renews dir/name.pem and dir/name-key.pem, signed by the authority in dir. A certificate that
// covers hosts and usage and has at least a third of its life left is kept.
func Issue(dir, name string, hosts []string, usage Usage) (Files, error) { return Files{}, errTODO }

// SourceConfig describes a Source.
type SourceConfig struct {
	Files
	// Renew, if set, is called when the certificate has less than a third of its life left, at most once an hour.
	Renew func() error
	Log   *slog.Logger
}

// Source gives TLS configurations from files and notices when the files change.
type Source struct{}

// NewSource loads the files once, so that mistakes show at start.
func NewSource(cfg SourceConfig) (*Source, error) { return nil, errTODO }

// Public returns the configuration of a server that asks clients for no certificate (QUIC). It stays up to date by itself.
func (s *Source) Public(alpn ...string) *tls.Config { return nil }

// Server returns the configuration of one accepted mutual TLS handshake.
func (s *Source) Server() (*tls.Config, error) { return nil, errTODO }

// Client returns the configuration of one dialed mutual TLS handshake.
func (s *Source) Client(serverName string) (*tls.Config, error) { return nil, errTODO }

// NotAfter is when the loaded certificate expires.
func (s *Source) NotAfter() time.Time { return time.Time{} }
