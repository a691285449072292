package mover

import (
	"fmt"

	"github.com/trunkline/trunkline/broker/internal/meta"
	"github.com/trunkline/trunkline/broker/internal/raftnode"
	"github.com/trunkline/trunkline/protocol"
)

// action is what a move needs next.
type action uint8

const (
	wait action = iota
	add
	promote
	yield
	remove
	finish
	giveUp // the move cannot be made: ask for it to be undone
	bar    // the move's fence is removed: nobody goes on with the move
	undone
)

// fenceBit marks the fences that are no replica's ID: those count up from meta.FirstReplica.
const fenceBit = 1 << 63

// fence returns the replica ID that a move which was undone has removed from its shard (Inv3): that of the new replica, or, where there is
// none or it stays a learner, one that nothing else has.
func fence(mv meta.Move, everywhere bool) uint64 {
	if mv.Add.Broker != 0 && !everywhere {
		return mv.Add.ReplicaID
	}
	return fenceBit | mv.ID
}

// step is one action and its object.
type step struct {
	do      action
	replica meta.Replica // added, promoted or removed
	why     string       // of a wait or of giving up, for people
}

// String says for people what is done or waited for.
func (s step) String() string {
	switch {
	case s.why != "":
		return s.why
	case s.replica.Broker != 0:
		return fmt.Sprintf("%s the replica on broker %d", s.do, s.replica.Broker)
	}
	return s.do.String()
}

// facts are what a leader knows of its shard's replicas beside their membership.
type facts struct {
	self     uint64                       // replica ID of the leader
	alive    func(protocol.BrokerID) bool // as liveness believes; self is alive
	caughtUp func(replica uint64) bool    // it lives, and acknowledged what the leader had a moment ago; nobody asks about self
	parts    func() bool                  // the leader's broker is about to hand its leaderships over
	// everywhere: every broker keeps a learner of the shard, so that a move only makes voters of learners and cannot take a
	// learner away. The metadata shard is such a one.
	everywhere bool
}

// next decides what a move needs. It is pure.
func next(m raftnode.Membership, mv meta.Move, f facts) step {
	_, barred := m.Removed[fence(mv, f.everywhere)]
	_, promoted := m.Voters[mv.Add.ReplicaID]
	over := mv.Undo && f.everywhere && promoted // it cannot become a learner again: the move goes on, whether or not it lives
	if (mv.Undo || barred) && !over {
		return back(m, mv, barred, f)
	}
	if mv.Add.Broker != 0 && !over {
		if s, arrived := bring(m, mv.Add, f); !arrived {
			return s
		}
	}
	if _, in := m.Voters[mv.Remove.ReplicaID]; in {
		return oust(m, mv.Remove, f)
	}
	return step{do: finish}
}

// bring takes a replica from nothing to a voter. arrived: it is one, and has what the leader has.
func bring(m raftnode.Membership, r meta.Replica, f facts) (s step, arrived bool) {
	if _, gone := m.Removed[r.ReplicaID]; gone {
		return step{do: giveUp, why: fmt.Sprintf("replica %d was removed and cannot return", r.ReplicaID)}, false
	}
	_, voter := m.Voters[r.ReplicaID]
	_, learner := m.Learners[r.ReplicaID]
	switch {
	case !voter && !learner && f.parts(): // the next leader would know nothing of a snapshot being sent, and send another
		return step{why: "the leadership goes to another broker first"}, false
	case !voter && !learner:
		return step{do: add, replica: r}, false
	case r.ReplicaID != f.self && !f.caughtUp(r.ReplicaID):
		return step{why: fmt.Sprintf("the replica on broker %d catches up", r.Broker)}, false
	case learner:
		return step{do: promote, replica: r}, false
	}
	return step{}, true
}

// oust takes a voter out, if the others can do without it.
func oust(m raftnode.Membership, r meta.Replica, f facts) step {
	alive, voters := 0, 0
	for id, b := range m.Voters {
		if id == r.ReplicaID {
			continue
		}
		voters++
		if id == f.self || f.alive(b) {
			alive++
		}
	}
	switch {
	case voters == 0:
		return step{do: giveUp, why: "the last voter cannot be removed"}
	case alive < voters/2+1:
		return step{why: fmt.Sprintf("without broker %d, only %d of %d voters would be alive", r.Broker, alive, voters)}
	case r.ReplicaID == f.self:
		return step{do: yield, replica: r}
	}
	return step{do: remove, replica: r}
}

// back undoes a move, unless it has happened: the old replica is out, or the new one votes and takes nobody's place. Somebody may be about to
// say so to the metadata, so it stays true.
func back(m raftnode.Membership, mv meta.Move, barred bool, f facts) step {
	_, added := m.Voters[mv.Add.ReplicaID]
	_, kept := m.Voters[mv.Remove.ReplicaID]
	switch {
	case barred && mv.Undo:
		return step{do: undone}
	case barred:
		return step{do: giveUp, why: "it was undone in the shard already"}
	case mv.Remove.Broker != 0 && !kept, mv.Remove.Broker == 0 && added:
		return step{do: finish}
	case added:
		return oust(m, mv.Add, f)
	}
	return step{do: bar, replica: meta.Replica{Broker: mv.Add.Broker, ReplicaID: fence(mv, f.everywhere)}}
}
