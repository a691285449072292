package broker

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"os"

	"github.com/trunkline/trunkline/broker/internal/pki"
	"github.com/trunkline/trunkline/protocol"
)

// certificates are this broker's certificates, for clients and for other brokers.
type certificates struct {
	files  pki.Files
	source *pki.Source
	quic   *tls.Config
}

// openCertificates loads the configured certificates, or makes development ones.
func openCertificates(cfg Config, self Member, log *slog.Logger) (*certificates, error) {
	c := &certificates{files: pki.Files{CA: cfg.TLS.CA, Cert: cfg.TLS.Cert, Key: cfg.TLS.Key}}
	var renew func() error
	if cfg.TLS.CA == "" {
		ca, err := pki.EnsureCA(cfg.TLS.DevDir)
		if err != nil {
			return nil, fmt.Errorf("tls.dev_dir: %w", err)
		}
		issue := func() (pki.Files, error) {
			return pki.Issue(cfg.TLS.DevDir, pki.BrokerName(cfg.Broker), certificateHosts(cfg, self), pki.Peer)
		}
		if c.files, err = issue(); err != nil {
			return nil, fmt.Errorf("tls.dev_dir: %w", err)
		}
		c.files.CA = ca
		renew = func() error { _, err := issue(); return err }
	}
	source, err := pki.NewSource(pki.SourceConfig{Files: c.files, Renew: renew, Log: log})
	if err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	c.source = source
	c.quic = source.Public(protocol.ALPN)
	return c, c.requireClients(cfg.TLS.ClientCA)
}

// requireClients makes clients show a certificate of the CA in file, if one is configured.
func (c *certificates) requireClients(file string) error {
	if file == "" {
		return nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("tls.client_ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return fmt.Errorf("tls.client_ca: %s holds no certificate", file)
	}
	c.quic = c.quic.Clone()
	c.quic.ClientAuth, c.quic.ClientCAs = tls.RequireAndVerifyClientCert, pool
	return nil
}

// certificateHosts lists every name under which this broker may be dialled.
func certificateHosts(cfg Config, self Member) []string {
	seen := map[string]bool{}
	var hosts []string
	for _, addr := range []string{self.Listen, self.Raft, cfg.Listen, cfg.RaftListen, "localhost:0", "127.0.0.1:0", "[::1]:0"} {
		host, _, err := net.SplitHostPort(addr)
		if ip := net.ParseIP(host); err != nil || host == "" || seen[host] || (ip != nil && ip.IsUnspecified()) {
			continue
		}
		seen[host] = true
		hosts = append(hosts, host)
	}
	return hosts
}
