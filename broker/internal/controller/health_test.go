package controller

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/raftnode"
	"github.com/trunkline/trunkline/protocol"
)

func TestHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.meta.catchUp()
		r.meta.register(3)
		topic := r.meta.create("a", 4, 3)
		r.start(r.config())
		defer r.c.Close()
		tp := func(i protocol.Partition) protocol.TopicPartition {
			return protocol.TopicPartition{Topic: topic.ID, Partition: i}
		}
		answers := func(length uint64, matches map[protocol.BrokerID]uint64) {
			r.host.mu.Lock()
			defer r.host.mu.Unlock()
			r.host.length, r.host.matches, r.host.answered = length, matches, time.Now()
		}
		for i, leader := range []protocol.BrokerID{1, 1, 2} { // nobody leads partition 3
			r.host.lead(topic.Partitions[i].Shard, 5, leader)
		}
		r.host.lead(raftnode.MetaShard, 5, 2)
		answers(100, map[protocol.BrokerID]uint64{2: 100, 3: 100})
		time.Sleep(2 * markEvery)
		answers(500, map[protocol.BrokerID]uint64{2: 480, 3: 100})
		require.Empty(t, r.c.Health().Leaderless, "it may have started a moment ago")
		answers(100, map[protocol.BrokerID]uint64{2: 100, 3: 100})
		time.Sleep(silentFor)
		answers(500, map[protocol.BrokerID]uint64{2: 480, 3: 100})
		h := r.c.Health()
		require.Empty(t, h.Behind, "both have what there was a second ago")
		require.Zero(t, h.Missing)
		require.Equal(t, []Ailing{{TP: tp(3)}}, h.Leaderless)
		require.Equal(t, 1, h.LeaderlessTotal)

		time.Sleep(2 * markEvery)
		answers(700, map[protocol.BrokerID]uint64{2: 600, 3: 400})
		h = r.c.Health()
		require.Equal(t, []Ailing{{tp(0), []protocol.BrokerID{3}}, {tp(1), []protocol.BrokerID{3}}}, h.Behind)
		require.Equal(t, 2, h.BehindTotal)
		require.Equal(t, 2, h.LastStraw, "of two that are left both are needed")

		answers(700, map[protocol.BrokerID]uint64{2: 700, 3: 700})
		require.Empty(t, r.c.Health().Behind)
		time.Sleep(silentFor + time.Millisecond)
		require.Equal(t, []Ailing{{tp(0), []protocol.BrokerID{2, 3}}, {tp(1), []protocol.BrokerID{2, 3}}}, r.c.Health().Behind, "silent")

		answers(700, map[protocol.BrokerID]uint64{2: 700})
		r.host.lead(raftnode.MetaShard, 6, 1)
		require.Equal(t, Ailing{Brokers: []protocol.BrokerID{3}}, r.c.Health().Behind[0], "who never answered, of the metadata too")
	})
}

func TestHealthIsBounded(t *testing.T) {
	h := Health{}
	for i := range protocol.Partition(maxAiling + 20) {
		h.behind(protocol.TopicPartition{Topic: 1, Partition: maxAiling + 19 - i}, []protocol.BrokerID{2}, 5)
	}
	require.Equal(t, maxAiling+20, h.BehindTotal)
	require.Zero(t, h.LastStraw, "four of five are left")
	kept := first(h.Behind)
	require.Len(t, kept, maxAiling)
	require.Equal(t, protocol.Partition(maxAiling-1), kept[maxAiling-1].TP.Partition)
}

func TestCaughtUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.meta.register(3)
		topic := r.meta.create("a", 3, 3)
		r.start(r.config())
		defer r.c.Close()
		ctx := context.Background()
		require.ErrorContains(t, r.c.CaughtUp(ctx), "starting")
		r.meta.catchUp()
		synctest.Wait()
		require.NoError(t, r.c.CaughtUp(ctx))
		r.host.mu.Lock()
		r.host.fail[topic.Partitions[1].Shard] = errors.New("no leader")
		r.host.mu.Unlock()
		require.EqualError(t, r.c.CaughtUp(ctx), `1 of 3 replicas lack something or have no leader, for instance topic "a" partition 1: no leader`)
	})
}
