package blackbox

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/bench/cluster"
)

// TestClientCertificates: a cluster that asks clients for a certificate takes those whose context names one, and no others.
func TestClientCertificates(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cluster")
	pki := filepath.Join(dir, "pki")
	c, err := cluster.Up(deadline(t, time.Minute), cluster.Spec{
		Dir: dir, Brokers: 1, Binary: filepath.Join(binaries, "trunklined"), Tied: true,
		Config: map[string]string{"tls.client_ca": filepath.Join(pki, "ca.pem")},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Down(t.Context())) })
	e := &env{Cluster: c}

	_, errs, err := e.cli(t, "", "cluster", "status")
	require.Error(t, err)
	require.Contains(t, errs, "certificate")

	var where map[string]any
	text, err := os.ReadFile(c.Context())
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &where))
	where["cert"], where["key"] = "pki/broker-1.pem", "pki/broker-1.pem" // both are in it
	text, err = json.Marshal(where)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(c.Context(), text, 0o600))
	_, errs, err = e.cli(t, "", "topic", "create", "t")
	require.NoError(t, err, errs)
	e.connect(t)
}
