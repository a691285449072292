package mover

import (
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/trunkline/trunkline/broker/internal/meta"
	"github.com/trunkline/trunkline/broker/internal/raftnode"
	"github.com/trunkline/trunkline/protocol"
)

// shard is a model of one Raft shard and the metadata's view of it.
type shard struct {
	t      *rapid.T
	is     raftnode.Membership
	move   *meta.Move
	leader uint64
	dead   map[protocol.BrokerID]bool
	caught map[uint64]bool
	parts  bool // the leader is about to hand over
	fewest int  // voters that the move may leave
}

func (s *shard) facts() facts {
	return facts{
		self: s.leader, alive: func(b protocol.BrokerID) bool { return !s.dead[b] },
		caughtUp: func(r uint64) bool { return s.caught[r] && r != s.leader }, // a leader does not answer itself
		parts:    func() bool { return s.parts },
	}
}

// do executes a step as Raft and the metadata would, and checks what a step must never do.
func (s *shard) do(st step) {
	s.is.ConfigChangeID++
	id := st.replica.ReplicaID
	switch st.do {
	case add:
		require.NotContains(s.t, s.is.Removed, id, "a removed replica was added")
		require.False(s.t, s.parts, "its snapshot would be sent twice")
		s.is.Learners[id] = st.replica.Broker
	case promote:
		require.True(s.t, s.caught[id])
		require.Contains(s.t, s.is.Learners, id)
		delete(s.is.Learners, id)
		s.is.Voters[id] = st.replica.Broker
	case remove:
		require.NotEqual(s.t, s.leader, id, "the leader was removed")
		if _, votes := s.is.Voters[id]; !votes {
			delete(s.is.Learners, id)
			s.is.Removed[id] = struct{}{}
			return
		}
		delete(s.is.Voters, id)
		s.is.Removed[id] = struct{}{}
		alive := 0
		for _, b := range s.is.Voters {
			if !s.dead[b] {
				alive++
			}
		}
		require.GreaterOrEqual(s.t, len(s.is.Voters), s.fewest)
		require.Greater(s.t, alive, len(s.is.Voters)/2, "no majority is left")
	case yield:
		require.Equal(s.t, s.leader, id)
		for _, r := range slices.Backward(slices.Sorted(maps.Keys(s.is.Voters))) { // the new replica first
			if r != id && !s.dead[s.is.Voters[r]] {
				s.leader = r
				return
			}
		}
	case bar:
		require.NotContains(s.t, s.is.Voters, id)
		delete(s.is.Learners, id)
		s.is.Removed[id] = struct{}{}
	case finish:
		require.True(s.t, s.move.Add.Broker == 0 || s.is.Voters[s.move.Add.ReplicaID] != 0 || s.move.Undo)
		require.NotContains(s.t, s.is.Voters, s.move.Remove.ReplicaID)
		s.move = nil
	case giveUp:
		s.move.Undo = true
	case undone:
		require.NotContains(s.t, s.is.Voters, s.move.Add.ReplicaID)
		require.NotContains(s.t, s.is.Learners, s.move.Add.ReplicaID)
		s.move = nil
	}
}

// TestMovesEnd interleaves steps with deaths, elections and undoing at random: whatever happened before, a move ends once everybody is
// alive and the new replica has caught up, and at no time are there fewer voters than before and after it.
func TestMovesEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 5).Draw(t, "replicas")
		s := &shard{
			t: t, dead: map[protocol.BrokerID]bool{}, caught: map[uint64]bool{},
			is: raftnode.Membership{Voters: map[uint64]protocol.BrokerID{}, Learners: map[uint64]protocol.BrokerID{}, Removed: map[uint64]struct{}{}},
		}
		for i := 1; i <= n; i++ {
			s.is.Voters[uint64(i)] = protocol.BrokerID(i)
		}
		s.leader, s.fewest = 1, n
		s.move = &meta.Move{ID: 7}
		kind := rapid.IntRange(0, 2).Draw(t, "kind")
		if kind != 1 {
			s.move.Add = meta.Replica{Broker: 9, ReplicaID: meta.FirstReplica + 9}
		}
		if kind != 0 {
			r := uint64(rapid.IntRange(1, n).Draw(t, "removed"))
			s.move.Remove = meta.Replica{Broker: protocol.BrokerID(r), ReplicaID: r}
		}
		if kind == 1 {
			if n == 1 {
				return // the metadata refuses it
			}
			s.fewest = n - 1
		}
		for range 30 {
			if s.move == nil {
				return
			}
			switch rapid.IntRange(0, 6).Draw(t, "event") {
			case 0:
				clear(s.dead)
				if b := protocol.BrokerID(rapid.IntRange(1, n).Draw(t, "dies")); uint64(b) != s.leader {
					s.dead[b] = true
				}
			case 1:
				s.move.Undo = true
			case 2:
				s.caught[s.move.Add.ReplicaID] = true
			case 3:
				s.parts = !s.parts
			default:
				s.do(next(s.is, *s.move, s.facts()))
			}
		}
		clear(s.dead)
		s.parts = false
		for range 10 {
			if s.move == nil {
				return
			}
			s.caught[s.move.Add.ReplicaID] = true
			s.do(next(s.is, *s.move, s.facts()))
		}
		require.Nil(t, s.move, "the move did not end")
	})
}

func TestMetadataLearnersStay(t *testing.T) {
	is := raftnode.Membership{
		Voters: map[uint64]protocol.BrokerID{1: 1, 2: 2, 3: 3}, Learners: map[uint64]protocol.BrokerID{4: 4}, Removed: map[uint64]struct{}{},
	}
	mv := meta.Move{ID: 5, Add: meta.Replica{Broker: 4, ReplicaID: 4}, Remove: meta.Replica{Broker: 2, ReplicaID: 2}, Undo: true}
	alive, caughtUp := true, true
	f := facts{
		self: 1, everywhere: true, alive: func(b protocol.BrokerID) bool { return alive || b != 4 },
		caughtUp: func(uint64) bool { return caughtUp },
	}
	s := next(is, mv, f)
	require.Equal(t, bar, s.do)
	require.Equal(t, uint64(fenceBit|5), s.replica.ReplicaID, "a learner of the metadata shard stays one")
	is.Removed[s.replica.ReplicaID] = struct{}{}
	require.Equal(t, undone, next(is, mv, f).do)

	delete(is.Learners, 4)
	clear(is.Removed)
	is.Voters[4] = 4
	require.Equal(t, remove, next(is, mv, f).do, "once promoted it cannot become a learner again: the move goes on")
	require.Equal(t, uint64(2), next(is, mv, f).replica.ReplicaID)
	alive, caughtUp = false, false
	require.Equal(t, remove, next(is, mv, f).do, "also if the promoted one died: otherwise neither of the two could ever leave")
	mv.Undo = false
	require.Equal(t, wait, next(is, mv, f).do, "nobody asked for an end yet")
}
