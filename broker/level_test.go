package broker

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/meta"
	"github.com/trunkline/trunkline/broker/internal/raftnet"
	"github.com/trunkline/trunkline/protocol"
)

// of makes a broker say that it understands other levels than this software does.
func of(cfg Config, lowest, highest protocol.Level) Config {
	cfg.levels = protocol.Levels{Lowest: lowest, Highest: highest}
	return cfg
}

// TestLevelOfAMixedCluster founds a cluster of which one broker holds the level back, raises it when that one was replaced, and then lets
// nobody in who does not understand it.
func TestLevelOfAMixedCluster(t *testing.T) {
	p := newPartyOf(t, 3, func(cfg Config) Config {
		if cfg.Broker == 2 {
			return of(cfg, 1, 1)
		}
		return cfg
	})
	raise := func(level protocol.Level) (protocol.Level, error) { return p.brokers[1].raiseLevel(t.Context(), level) }
	var err error
	p.await("all are heard", func() bool {
		_, err = raise(2)
		return err != nil && strings.Contains(err.Error(), "broker 2 understands level 1")
	})
	require.Equal(t, meta.LevelFirst, p.brokers[1].meta.Image().Level, "a new cluster is not raised past one of its founders")

	_, err = Open(t.Context(), of(p.joiner(4), 2, 3))
	require.ErrorContains(t, err, "understands levels 2 to 3")
	_, known := p.brokers[1].meta.Image().Broker(4)
	require.False(t, known)

	p.close(2)
	p.await("its end is noticed", func() bool {
		_, err = raise(2)
		return err != nil && strings.Contains(err.Error(), "broker 2 is not heard by broker 1")
	})
	require.ErrorContains(t, err, "decommission it")
	p.open(p.founder(2))
	p.await("raised", func() bool {
		level, err := raise(2)
		return err == nil && level == 2
	})
	level, err := raise(1)
	require.NoError(t, err)
	require.Equal(t, protocol.Level(2), level, "never lowered")
	p.await("everybody remembers", func() bool {
		for _, b := range p.brokers {
			if text, err := os.ReadFile(b.dir.file("identity.json")); err != nil || !strings.Contains(string(text), `"version": 3`) {
				return false
			}
		}
		return true
	})
	status := p.brokers[2].status()
	require.Equal(t, []protocol.Level{2, 1, 2}, []protocol.Level{status.Level, status.Lowest, status.Highest})

	p.close(2)
	_, err = Open(t.Context(), of(p.founder(2), 1, 1))
	require.ErrorContains(t, err, "finalised at level 2 and this trunklined understands level 1: there is no way back")
	_, err = Open(t.Context(), of(p.founder(2), 3, 4))
	require.ErrorContains(t, err, "it is too new")
	_, err = Open(t.Context(), of(p.joiner(4), 1, 1))
	require.ErrorContains(t, err, "broker 4 runs a release that understands level 1")
	p.open(p.founder(2))
	p.closeAll()
}

// TestNewClusterHasTheHighestLevel: there is no release to go back to.
func TestNewClusterHasTheHighestLevel(t *testing.T) {
	p := newParty(t, 3)
	p.await("raised", func() bool { return p.brokers[1].meta.Image().Level == meta.Understood().Highest })
	p.closeAll()
}

func TestWhoIsTooFarApart(t *testing.T) {
	dir, err := openDataDir(alone(t.TempDir()).WithDefaults())
	require.NoError(t, err)
	defer func() { require.NoError(t, dir.close()) }()
	r := newRegistry(dir, protocol.Levels{Lowest: 2, Highest: 3})
	says := func(lowest, highest protocol.Level) string {
		reject := r.check(raftnet.PeerHello{Broker: 2, Levels: protocol.Levels{Lowest: lowest, Highest: highest}})
		if reject == nil {
			return ""
		}
		require.Equal(t, raftnet.RejectVersion, reject.Code)
		return reject.Reason
	}
	require.Contains(t, says(0, 0), "broker 2 understands level 1 and this broker levels 2 to 3: their releases are too far apart")
	require.Contains(t, says(4, 5), "too far apart")
	require.Empty(t, says(1, 2))
	require.Empty(t, says(3, 9))
	_, err = r.learn(1, 3, map[protocol.BrokerID]peer{1: {Raft: "a:1", Dir: dirID{1}}})
	require.NoError(t, err)
	require.Contains(t, says(1, 2), "finalised at level 3, and broker 2 runs a release that understands levels 1 to 2")
	require.Empty(t, says(3, 9))
	_, err = r.learn(2, 2, map[protocol.BrokerID]peer{1: {Raft: "a:1", Dir: dirID{1}}})
	require.NoError(t, err)
	require.Contains(t, says(1, 2), "level 3", "it is never lowered")
}
