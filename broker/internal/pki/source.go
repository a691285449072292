package pki

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// PeerALPN is the application protocol of connections between brokers.
const PeerALPN = "trunkline-peer/1"

// renewEvery bounds how often SourceConfig.Renew is tried.
const renewEvery = time.Hour

// SourceConfig describes a Source.
type SourceConfig struct {
	Files
	// Renew, if set, is called when the certificate has less than a third of its life left, at most once an hour.
	Renew func() error
	Log   *slog.Logger
}

// Source gives TLS configurations from files. It looks at the files (a stat of each) before every handshake and
// loads them again when they changed; files that do not fit together leave the loaded ones in use.
type Source struct {
	cfg SourceConfig
	now func() time.Time

	mu      sync.Mutex // guards the fields below
	seen    [3]stamp   // the files as they were last tried, good or bad
	cert    *tls.Certificate
	pool    *x509.CertPool
	renewed time.Time // last try
}

// stamp tells whether a file was replaced or written.
type stamp struct {
	info os.FileInfo
}

func (s stamp) equal(o stamp) bool {
	if s.info == nil || o.info == nil {
		return s.info == o.info
	}
	return os.SameFile(s.info, o.info) && s.info.Size() == o.info.Size() && s.info.ModTime().Equal(o.info.ModTime())
}

// NewSource loads the files once, so that mistakes show at start.
func NewSource(cfg SourceConfig) (*Source, error) { return newSource(cfg, time.Now) }

func newSource(cfg SourceConfig, now func() time.Time) (*Source, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Source{cfg: cfg, now: now}
	stamps, err := s.stat()
	if err != nil {
		return nil, err
	}
	if err := s.load(stamps); err != nil {
		return nil, err
	}
	if now().After(s.cert.Leaf.NotAfter) {
		return nil, fmt.Errorf("pki: certificate %s expired at %s",
			cfg.Cert, s.cert.Leaf.NotAfter.Format(time.RFC3339))
	}
	return s, nil
}

// Public returns the configuration of a server that asks clients for no certificate (QUIC). It follows changed
// files by itself.
func (s *Source) Public(alpn ...string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: alpn,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			cert, _ := s.current()
			return cert, nil
		},
	}
}

// Server returns the configuration of one accepted mutual TLS handshake.
func (s *Source) Server() (*tls.Config, error) {
	cert, pool := s.current()
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		NextProtos:   []string{PeerALPN},
		Certificates: []tls.Certificate{*cert},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    pool,
		// A resumed session would go on with a certificate that was replaced meanwhile.
		SessionTicketsDisabled:      true,
		DynamicRecordSizingDisabled: true,
	}, nil
}

// Client returns the configuration of one dialled mutual TLS handshake.
func (s *Source) Client(serverName string) (*tls.Config, error) {
	cert, pool := s.current()
	return &tls.Config{
		MinVersion:                  tls.VersionTLS13,
		NextProtos:                  []string{PeerALPN},
		Certificates:                []tls.Certificate{*cert},
		RootCAs:                     pool,
		ServerName:                  serverName,
		DynamicRecordSizingDisabled: true,
	}, nil
}

// NotAfter is when the loaded certificate expires.
func (s *Source) NotAfter() time.Time {
	cert, _ := s.current()
	return cert.Leaf.NotAfter
}

// current returns the newest pair that could be loaded.
func (s *Source) current() (*tls.Certificate, *x509.CertPool) {
	s.renew()
	s.mu.Lock()
	defer s.mu.Unlock()
	stamps, err := s.stat()
	if err != nil {
		// In the middle of a rotation by hand a file may be missing for a moment.
		return s.cert, s.pool
	}
	if stamps[0].equal(s.seen[0]) && stamps[1].equal(s.seen[1]) && stamps[2].equal(s.seen[2]) {
		return s.cert, s.pool
	}
	if err := s.load(stamps); err != nil {
		s.cfg.Log.Warn("changed certificate files are not usable, going on with the loaded ones", "err", err)
		return s.cert, s.pool
	}
	s.cfg.Log.Info("certificate loaded", "file", s.cfg.Cert, "not_after", s.cert.Leaf.NotAfter)
	return s.cert, s.pool
}

// renew calls Renew if the time has come. It runs without the lock: Renew may take a while.
func (s *Source) renew() {
	if s.cfg.Renew == nil {
		return
	}
	now := s.now()
	s.mu.Lock()
	due := needsRenewal(s.cert.Leaf, now) && (s.renewed.IsZero() || now.Sub(s.renewed) >= renewEvery)
	if due {
		s.renewed = now
	}
	s.mu.Unlock()
	if !due {
		return
	}
	if err := s.cfg.Renew(); err != nil {
		s.cfg.Log.Error("certificate could not be renewed", "file", s.cfg.Cert, "err", err)
	}
}

func (s *Source) stat() (out [3]stamp, err error) {
	for i, name := range []string{s.cfg.CA, s.cfg.Cert, s.cfg.Key} {
		if out[i].info, err = os.Stat(name); err != nil {
			return out, fmt.Errorf("pki: certificate files: %w", err)
		}
	}
	return out, nil
}

// load replaces cert and pool if all files are good. The stamps were taken before the files are read: a change
// in between is found at the next look.
func (s *Source) load(stamps [3]stamp) error {
	s.seen = stamps
	cert, err := tls.LoadX509KeyPair(s.cfg.Cert, s.cfg.Key)
	if err != nil {
		return fmt.Errorf("pki: load %s and %s: %w", s.cfg.Cert, s.cfg.Key, err)
	}
	ca, err := os.ReadFile(s.cfg.CA)
	if err != nil {
		return fmt.Errorf("pki: load authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return fmt.Errorf("pki: %s holds no PEM certificate", s.cfg.CA)
	}
	s.cert, s.pool = &cert, pool
	return nil
}
