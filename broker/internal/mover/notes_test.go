package mover

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/meta"
	"github.com/trunkline/trunkline/broker/internal/raftnode"
	"github.com/trunkline/trunkline/protocol"
)

// catching is a shard whose new replica has a part of the log.
type catching struct{ Raft }

func (catching) Membership(context.Context, uint64) (raftnode.Membership, error) {
	return raftnode.Membership{Voters: map[uint64]protocol.BrokerID{1: 1}, Learners: map[uint64]protocol.BrokerID{99: 4}}, nil
}
func (catching) Progress(uint64, uint64) (uint64, time.Time, bool) { return 70, time.Now(), true }
func (catching) LastIndex(uint64) (uint64, bool)                   { return 100, true }
func (catching) ForgetBeginning(context.Context, uint64) error     { return nil }

func TestProgressIsTold(t *testing.T) {
	mv := meta.Moving{Shard: 18, Move: meta.Move{ID: 7, Add: meta.Replica{Broker: 4, ReplicaID: 99}}}
	m := New(Config{Raft: catching{}, Alive: func(protocol.BrokerID) bool { return true }})
	_, ok := m.Progress(mv)
	require.False(t, ok, "it was not taken up here")

	m.notes.take(mv.ID, time.Now().Add(-time.Minute))
	m.notes.take(mv.ID, time.Now()) // each look does
	require.NoError(t, m.move(t.Context(), mv, 1))
	p, ok := m.Progress(mv)
	require.True(t, ok)
	require.Equal(t, "the replica on broker 4 catches up", p.Step)
	require.Equal(t, []uint64{100, 70}, []uint64{p.Last, p.Match})
	require.InDelta(t, time.Minute, p.Since, float64(10*time.Second))

	m.notes.keep(func(uint64) bool { return false })
	_, ok = m.Progress(mv)
	require.False(t, ok, "somebody else makes it now")
}
