package controller

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/protocol"
)

// TestNothingGoesBackToAReplicaThatIsTakenAway: the preferred leader has handed over because it is to be removed.
func TestNothingGoesBackToAReplicaThatIsTakenAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.meta.catchUp()
		r.meta.register(4)
		topic := r.meta.create("a", 1, 3)
		p := &topic.Partitions[0]
		if _, here := p.On(1); !here || p.Replicas[0].Broker == 1 {
			require.NoError(t, r.meta.service.PreferLeader(t.Context(), protocol.TopicPartition{Topic: topic.ID}, p.Replicas[1].Broker))
			p, _ = r.meta.service.Image().Partition(protocol.TopicPartition{Topic: topic.ID})
		}
		preferred := p.Replicas[0].Broker
		require.NotEqual(t, protocol.BrokerID(1), preferred)
		cfg := r.config()
		cfg.Steady = func(protocol.BrokerID) bool { return true }
		r.start(cfg)
		r.host.matches = map[protocol.BrokerID]uint64{preferred: 1 << 40}
		r.host.lead(p.Shard, 1, 1)
		move := r.meta.move(topic, 0, 4, preferred)
		time.Sleep(10 * preferEvery)
		require.Empty(t, r.host.replica(p.Shard).attempts())
		r.meta.end(move, true)
		time.Sleep(2 * preferEvery)
		require.Equal(t, []protocol.BrokerID{preferred}, r.host.replica(p.Shard).attempts()[:1], "it stays: now it gets it back")
		r.c.Close()
	})
}

// TestAHandOverInVainIsNotTriedAtOnce: each attempt makes the partition's publishers wait.
func TestAHandOverInVainIsNotTriedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.meta.catchUp()
		r.meta.register(3)
		topic := r.meta.create("a", 1, 3)
		p := &topic.Partitions[0]
		preferred := p.Replicas[0].Broker
		if preferred == 1 {
			preferred = p.Replicas[1].Broker
			require.NoError(t, r.meta.service.PreferLeader(t.Context(), protocol.TopicPartition{Topic: topic.ID}, preferred))
		}
		cfg := r.config()
		cfg.Steady = func(protocol.BrokerID) bool { return true }
		r.start(cfg)
		shard := r.host.replica(p.Shard)
		shard.refuse(preferred)
		r.host.matches = map[protocol.BrokerID]uint64{preferred: 1 << 40}
		r.host.lead(p.Shard, 1, 1)
		time.Sleep(preferPause)
		require.Equal(t, []protocol.BrokerID{preferred}, shard.attempts())
		require.Equal(t, preferSilence, shard.patience(), "nobody has asked for it: publishers do not wait long")
		time.Sleep(preferPause)
		require.Len(t, shard.attempts(), 2)
		r.c.Close()
	})
}

// TestPausesAfterVainHandOvers: one failure holds nothing up for long, those that go on cost publishers less and less.
func TestPausesAfterVainHandOvers(t *testing.T) {
	var f *failures
	now := time.Now()
	require.True(t, f.over(now))
	for _, pause := range []time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second, 40 * time.Second, time.Minute, time.Minute} {
		f = f.again(now)
		require.False(t, f.over(now.Add(pause-1)))
		require.True(t, f.over(now.Add(pause)))
	}
	require.True(t, (&failures{n: 1000, last: now}).over(now.Add(time.Minute)))
}
