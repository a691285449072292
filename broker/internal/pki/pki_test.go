package pki

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// helperEnv makes the test binary act as one more process that starts on the directory it names.
const helperEnv = "TRUNKLINE_PKI_HELPER_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(helperEnv); dir != "" {
		if _, err := EnsureCA(dir); err != nil {
			panic(err)
		}
		if _, err := Issue(dir, "shared", []string{"localhost"}, Server); err != nil {
			panic(err)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func leafOf(t *testing.T, f Files) *x509.Certificate {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	require.NoError(t, err)
	return pair.Leaf
}

func TestEnsureCAFromManyGoroutinesAndProcesses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	exe, err := os.Executable()
	require.NoError(t, err)
	var cmds []*exec.Cmd
	for range 3 {
		cmd := exec.Command(exe)
		cmd.Env = append(os.Environ(), helperEnv+"="+dir)
		require.NoError(t, cmd.Start())
		cmds = append(cmds, cmd)
	}
	var wg sync.WaitGroup
	cas := make([][]byte, 8)
	for i := range cas {
		wg.Go(func() {
			file, err := EnsureCA(dir)
			if err == nil {
				cas[i], _ = os.ReadFile(file)
			}
		})
	}
	wg.Wait()
	for _, cmd := range cmds {
		require.NoError(t, cmd.Wait())
	}
	for _, ca := range cas {
		require.NotEmpty(t, ca)
		require.Equal(t, cas[0], ca, "everybody sees the same authority")
	}
	_, keyFile := caPaths(dir)
	info, err := os.Stat(keyFile)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(cas[0]))
	_, err = leafOf(t, Files{Cert: filepath.Join(dir, "shared.pem"), Key: filepath.Join(dir, "shared.pem")}).
		Verify(x509.VerifyOptions{Roots: pool, DNSName: "localhost"})
	require.NoError(t, err)
}

func TestEnsureCARecoversFromACrashBeforeTheCertificate(t *testing.T) {
	dir := t.TempDir()
	_, keyFile := caPaths(dir)
	require.NoError(t, os.WriteFile(keyFile, []byte("half a key"), 0o600))
	_, err := EnsureCA(dir)
	require.NoError(t, err)
	_, err = Issue(dir, "x", nil, Client)
	require.NoError(t, err)
}

func TestEnsureCARefusesAnExpiredAuthority(t *testing.T) {
	dir := t.TempDir()
	_, err := ensureCA(dir, time.Now().Add(-2*caLife))
	require.NoError(t, err)
	_, err = EnsureCA(dir)
	require.ErrorContains(t, err, "expired")
}

func TestIssueKeepsAGoodCertificateAndReplacesOthers(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	_, err := ensureCA(dir, now)
	require.NoError(t, err)
	get := func(hosts []string, usage Usage, at time.Time) string {
		f, err := issue(dir, BrokerName(1), hosts, usage, at)
		require.NoError(t, err)
		return leafOf(t, f).SerialNumber.String()
	}
	hosts := []string{"localhost", "127.0.0.1", "::1"}
	first := get(hosts, Peer, now)
	require.Equal(t, first, get(hosts, Peer, now.Add(leafLife/2)), "kept while a third of its life is left")
	require.Equal(t, first, get(hosts[:1], Server, now), "covers less")
	renewed := get(hosts, Peer, now.Add(leafLife*3/4))
	require.NotEqual(t, first, renewed, "renewed in its last third")
	require.NotEqual(t, renewed, get(append(hosts, "other.example"), Peer, now.Add(leafLife*3/4)), "another host")
	serverOnly := get([]string{"a"}, Server, now.Add(3*leafLife))
	require.NotEqual(t, serverOnly, get([]string{"a"}, Peer, now.Add(3*leafLife)), "another usage")

	for _, name := range []string{"", "ca", "ca-key", "../x", "a/b"} {
		_, err := Issue(dir, name, nil, Server)
		require.Error(t, err, name)
	}
	_, err = Issue(t.TempDir(), "x", nil, Server)
	require.ErrorContains(t, err, "load authority")
}

func TestCheckBroker(t *testing.T) {
	dir := t.TempDir()
	_, err := EnsureCA(dir)
	require.NoError(t, err)
	f, err := Issue(dir, BrokerName(7), nil, Peer)
	require.NoError(t, err)
	require.NoError(t, CheckBroker(leafOf(t, f), 7))
	require.Error(t, CheckBroker(leafOf(t, f), 77))
	f, err = Issue(dir, "operators-own", nil, Peer)
	require.NoError(t, err)
	require.NoError(t, CheckBroker(leafOf(t, f), 7))
}

func TestSourceFollowsChangedFilesAndKeepsGoodOnes(t *testing.T) {
	dir := t.TempDir()
	_, err := EnsureCA(dir)
	require.NoError(t, err)
	f, err := Issue(dir, "b", []string{"localhost"}, Peer)
	require.NoError(t, err)
	s, err := NewSource(SourceConfig{Files: f})
	require.NoError(t, err)
	serial := func() string {
		cfg, err := s.Server()
		require.NoError(t, err)
		return cfg.Certificates[0].Leaf.SerialNumber.String()
	}
	first := serial()
	good, err := os.ReadFile(f.Cert)
	require.NoError(t, err)

	require.NoError(t, os.Remove(f.Cert))
	require.Equal(t, first, serial(), "missing file")
	require.NoError(t, os.WriteFile(f.Cert, []byte("nonsense"), 0o600))
	require.Equal(t, first, serial(), "unusable file")
	require.NoError(t, os.WriteFile(f.Cert, good, 0o600))
	require.Equal(t, first, serial())

	require.NoError(t, os.Remove(f.Cert))
	_, err = Issue(dir, "b", []string{"localhost"}, Peer)
	require.NoError(t, err)
	require.NotEqual(t, first, serial(), "rotated")

	_, err = NewSource(SourceConfig{Files: Files{CA: f.CA, Cert: f.Cert, Key: filepath.Join(dir, "ca-key.pem")}})
	require.Error(t, err, "a key that does not fit")
	_, err = NewSource(SourceConfig{Files: Files{CA: filepath.Join(dir, "ca-key.pem"), Cert: f.Cert, Key: f.Key}})
	require.Error(t, err, "an authority without certificate")
	_, err = NewSource(SourceConfig{Files: Files{CA: f.CA, Cert: "nowhere", Key: f.Key}})
	require.Error(t, err)
}

func TestSourceRenews(t *testing.T) {
	dir := t.TempDir()
	start := time.Now()
	_, err := ensureCA(dir, start)
	require.NoError(t, err)
	f, err := issue(dir, "b", nil, Peer, start)
	require.NoError(t, err)
	now, calls := start, 0
	s, err := newSource(SourceConfig{Files: f, Renew: func() error {
		calls++
		_, err := issue(dir, "b", nil, Peer, now)
		return err
	}}, func() time.Time { return now })
	require.NoError(t, err)
	first := s.NotAfter()
	require.Zero(t, calls)
	now = start.Add(leafLife * 3 / 4)
	require.True(t, s.NotAfter().After(first))
	require.Equal(t, 1, calls)
	s.NotAfter()
	require.Equal(t, 1, calls)
	_, err = newSource(SourceConfig{Files: f}, func() time.Time { return now.Add(2 * leafLife) })
	require.ErrorContains(t, err, "expired")
}

func TestMutualHandshake(t *testing.T) {
	source := func(dir, name string) *Source {
		_, err := EnsureCA(dir)
		require.NoError(t, err)
		f, err := Issue(dir, name, []string{"localhost"}, Peer)
		require.NoError(t, err)
		s, err := NewSource(SourceConfig{Files: f})
		require.NoError(t, err)
		return s
	}
	dir := t.TempDir()
	a, b, foreign := source(dir, BrokerName(1)), source(dir, BrokerName(2)), source(t.TempDir(), BrokerName(2))
	require.NoError(t, handshake(t, a, b, "localhost"))
	require.Error(t, handshake(t, a, b, "other.example"))
	require.Error(t, handshake(t, a, foreign, "localhost"))
	require.Error(t, handshake(t, foreign, a, "localhost"))
}

// handshake returns the first error of both sides, and checks that public configurations work too.
func handshake(t *testing.T, server, client *Source, name string) error {
	t.Helper()
	sc, err := server.Server()
	require.NoError(t, err)
	cc, err := client.Client(name)
	require.NoError(t, err)
	p, q := net.Pipe()
	defer func() { _, _ = p.Close(), q.Close() }()
	deadline := time.Now().Add(5 * time.Second)
	require.NoError(t, p.SetDeadline(deadline))
	require.NoError(t, q.SetDeadline(deadline))
	errs := make(chan error, 1)
	go func() {
		err := tls.Server(p, sc).Handshake()
		if err != nil {
			_ = p.Close()
		}
		errs <- err
	}()
	clientErr := tls.Client(q, cc).Handshake()
	if clientErr != nil {
		_ = q.Close()
	}
	if err := <-errs; err != nil {
		return err
	}
	return clientErr
}

func TestPublicConfig(t *testing.T) {
	dir := t.TempDir()
	_, err := EnsureCA(dir)
	require.NoError(t, err)
	f, err := Issue(dir, "quic", []string{"localhost"}, Server)
	require.NoError(t, err)
	s, err := NewSource(SourceConfig{Files: f})
	require.NoError(t, err)
	cfg := s.Public(PeerALPN)
	cert, err := cfg.GetCertificate(nil)
	require.NoError(t, err)
	require.Equal(t, leafOf(t, f).SerialNumber, cert.Leaf.SerialNumber)
	require.Equal(t, uint16(tls.VersionTLS13), cfg.MinVersion)
}
