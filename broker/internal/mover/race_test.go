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

// world is a shard, the metadata's word on it, and brokers that lead it, led it, or believe that they do.
type world struct {
	t          *rapid.T
	everywhere bool
	is         raftnode.Membership
	replicas   []meta.Replica
	move       *meta.Move // nil: it ended
	words      []word     // to the metadata, on their way; they may overtake each other
	leaders    [2]leader
}

type word struct {
	do action
	id uint64
}

// leader has seen some image and some membership, and acts on both though they may be old.
type leader struct {
	move *meta.Move
	is   raftnode.Membership
}

func (w *world) membership() raftnode.Membership {
	is := w.is
	is.Voters, is.Learners, is.Removed = maps.Clone(is.Voters), maps.Clone(is.Learners), maps.Clone(is.Removed)
	return is
}

// act does the step that a leader decides on what it has seen: in Raft at once or not at all, in the metadata at some time.
func (w *world) act(l *leader, self uint64) {
	if l.move == nil {
		return
	}
	s := next(l.is, *l.move, facts{
		self: self, everywhere: w.everywhere, alive: func(protocol.BrokerID) bool { return true }, caughtUp: func(uint64) bool { return true },
		parts: func() bool { return false },
	})
	switch id := s.replica.ReplicaID; s.do {
	case finish, undone, giveUp:
		w.words = append(w.words, word{s.do, l.move.ID})
		return
	case wait, yield:
		return
	default:
		if l.is.ConfigChangeID != w.is.ConfigChangeID {
			return // Raft refuses it
		}
		w.is.ConfigChangeID++
		w.change(s.do, id, s.replica.Broker)
	}
}

func (w *world) change(do action, id uint64, on protocol.BrokerID) {
	if do == remove || do == bar {
		delete(w.is.Voters, id)
		delete(w.is.Learners, id)
		w.is.Removed[id] = struct{}{}
		return
	}
	require.NotContains(w.t, w.is.Removed, id)
	if do == add {
		w.is.Learners[id] = on
		return
	}
	require.Contains(w.t, w.is.Learners, id)
	delete(w.is.Learners, id)
	w.is.Voters[id] = on
}

// hear applies a word as package meta does.
func (w *world) hear(h word) {
	if w.move == nil || h.id != w.move.ID {
		return
	}
	m := *w.move
	switch h.do {
	case giveUp:
		m.Undo = true
		w.move = &m
	case undone:
		require.True(w.t, m.Undo, "the metadata would refuse it")
		w.move = nil
	case finish:
		w.replicas = slices.DeleteFunc(w.replicas, func(r meta.Replica) bool { return r == m.Remove })
		if m.Add.Broker != 0 {
			w.replicas = append(w.replicas, m.Add)
		}
		w.move = nil
	}
}

// look lets a leader see the newest image, the newest membership, or both.
func (w *world) look(l *leader, image, membership bool) {
	if image {
		l.move = w.move
	}
	if membership {
		l.is = w.membership()
	}
}

// TestOldImagesDoNoHarm lets two brokers act on what they have seen at different times, while a move is undone or not, and their words arrive in
// any order: when the move has ended, Raft has the replicas that the metadata has, and no old image changes that.
func TestOldImagesDoNoHarm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{t: t, everywhere: rapid.Bool().Draw(t, "everywhere"), is: raftnode.Membership{
			Voters: map[uint64]protocol.BrokerID{}, Learners: map[uint64]protocol.BrokerID{}, Removed: map[uint64]struct{}{},
		}}
		for i := uint64(1); i <= 3; i++ {
			w.is.Voters[i] = protocol.BrokerID(i)
			w.replicas = append(w.replicas, meta.Replica{Broker: protocol.BrokerID(i), ReplicaID: i})
		}
		kind := rapid.IntRange(0, 2).Draw(t, "kind")
		w.move = &meta.Move{ID: 7}
		if kind != 1 {
			w.move.Add = meta.Replica{Broker: 4, ReplicaID: 4}
		}
		if kind != 0 {
			w.move.Remove = meta.Replica{Broker: 2, ReplicaID: 2}
		}
		if w.everywhere {
			w.is.Learners[4] = 4
		}
		for i := range w.leaders {
			w.look(&w.leaders[i], true, true)
		}
		for range rapid.IntRange(0, 40).Draw(t, "events") {
			i := rapid.IntRange(0, 1).Draw(t, "leader")
			switch l := &w.leaders[i]; rapid.IntRange(0, 5).Draw(t, "event") {
			case 0, 1:
				w.act(l, uint64(1+2*i)) // neither is the one to be removed, whose leader would hand over
			case 2:
				w.look(l, true, false)
			case 3:
				w.look(l, false, true)
			case 4:
				if len(w.words) > 0 {
					at := rapid.IntRange(0, len(w.words)-1).Draw(t, "word")
					h := w.words[at]
					w.words = slices.Delete(w.words, at, at+1)
					w.hear(h)
				}
			case 5:
				w.hear(word{giveUp, 7}) // the planner does not want it any more
			}
		}
		w.end()
	})
}

// end lets one leader act on what is true until the move has ended, all words arrive, and the other go on with what it has seen.
func (w *world) end() {
	for range 12 {
		w.look(&w.leaders[0], true, true)
		w.act(&w.leaders[0], 1)
		for _, h := range w.words {
			w.hear(h)
		}
		w.words = nil
		w.look(&w.leaders[1], false, true)
		w.act(&w.leaders[1], 3)
	}
	require.Nil(w.t, w.move, "it does not end")
	for range 5 {
		w.look(&w.leaders[1], false, true)
		w.act(&w.leaders[1], 3)
	}
	want := map[uint64]protocol.BrokerID{}
	for _, r := range w.replicas {
		want[r.ReplicaID] = r.Broker
	}
	require.Equal(w.t, want, w.is.Voters)
	if w.everywhere {
		delete(w.is.Learners, 4) // it may stay one
	}
	require.Empty(w.t, w.is.Learners, "nobody runs it and nobody removes it")
	_, votes := want[4]
	_, gone := w.is.Removed[4]
	require.False(w.t, w.everywhere && !votes && gone, "a broker lost its replica of the metadata")
}
