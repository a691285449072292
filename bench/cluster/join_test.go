package cluster

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

// TestWhoJoinedAsksNobodyWhoLeft: a broker that lost its data asks those that are there.
func TestWhoJoinedAsksNobodyWhoLeft(t *testing.T) {
	c, err := create(Spec{Dir: t.TempDir(), Brokers: 2, Binary: "trunklined"})
	require.NoError(t, err)
	require.NoError(t, c.change(func() error {
		added, err := allocate(Spec{Brokers: 1}, 3)
		if err != nil {
			return err
		}
		added[0].Joined = true
		c.state.Brokers = append(c.state.Brokers, added...)
		return nil
	}))
	require.NoError(t, c.Remove(1))
	var conf struct{ Join []string }
	text, err := os.ReadFile(filepath.Join(c.brokerDir(3), "trunkline.yaml"))
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(text, &conf))
	other, err := c.Broker(2)
	require.NoError(t, err)
	require.Equal(t, []string{other.Raft}, conf.Join)
	text, err = os.ReadFile(filepath.Join(c.brokerDir(2), "trunkline.yaml"))
	require.NoError(t, err)
	require.NotContains(t, string(text), "join", "it founded the cluster")
}
