package raftnode

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lni/dragonboat/v4"

	"github.com/trunkline/trunkline/broker/internal/raftnet"
	"github.com/trunkline/trunkline/protocol"
)

// Errors of Membership and of changes to it, besides ErrNotLeader, ErrBusy, ErrNotReady and ErrStopped, which changed nothing.
var (
	// ErrChanged says that the change was refused and never happens: it was decided on an older membership, or Raft does not
	// allow it (a replica ID or a broker that the shard has or a replica ID that it had; the only voter). Read it again.
	ErrChanged = errors.New("the membership is not the one that the change was decided on, or does not allow it")
	// ErrUndecided says that the change may happen, now or later, or never.
	ErrUndecided = errors.New("raft has not decided in time")
	// ErrSelf says that a leader cannot remove itself: the leadership must be handed over first.
	ErrSelf = errors.New("a leader does not remove itself")
)

// Membership is who belongs to a shard, by replica ID.
type Membership struct {
	ConfigChangeID uint64 // of the last change; changes name the one that they were decided on
	Voters         map[uint64]protocol.BrokerID
	Learners       map[uint64]protocol.BrokerID
	Removed        map[uint64]struct{} // replica IDs that were members once and never are again
}

// Membership returns the members of a shard, with all changes that were committed before the call. It works on any replica
// while there is a leader that a majority of the voters hears, and fails with ErrUndecided or ErrNotReady while there is none. It
// ends with ctx, which must leave it one of Raft's ticks or more, at the latest after Config.ProposalTimeout.
func (n *Node) Membership(ctx context.Context, id uint64) (Membership, error) {
	if !n.gate.enter() {
		return Membership{}, ErrStopped
	}
	defer n.gate.leave()
	ctx, done := n.changeContext(ctx)
	defer done()
	m, err := n.nh.SyncGetShardMembership(ctx, id)
	if err != nil {
		return Membership{}, fmt.Errorf("raftnode: membership of shard %d: %w", id, changeError(ctx, err))
	}
	voters, err := brokersOf(m.Nodes)
	if err != nil {
		return Membership{}, fmt.Errorf("raftnode: membership of shard %d: %w", id, err)
	}
	learners, err := brokersOf(m.NonVotings)
	if err != nil {
		return Membership{}, fmt.Errorf("raftnode: membership of shard %d: %w", id, err)
	}
	return Membership{ConfigChangeID: m.ConfigChangeID, Voters: voters, Learners: learners, Removed: m.Removed}, nil
}

func brokersOf(targets map[uint64]string) (map[uint64]protocol.BrokerID, error) {
	out := make(map[uint64]protocol.BrokerID, len(targets))
	for replica, target := range targets {
		broker, ok := raftnet.ParseTarget(target)
		if !ok {
			return nil, fmt.Errorf("replica %d is on %q, which is no broker", replica, target)
		}
		out[replica] = broker
	}
	return out, nil
}

// AddLearner makes a replica that was never a member of a shard led here a learner: it gets the log and does not vote. decidedOn
// is the ConfigChangeID of the membership that was read before. On nil the change is applied here. Changes end with ctx, at
// the latest after Config.ProposalTimeout; see the errors above.
func (n *Node) AddLearner(ctx context.Context, id uint64, r Replica, decidedOn uint64) error {
	return n.change(ctx, id, fmt.Sprintf("add learner %d", r.ReplicaID), func(timeout time.Duration) (*dragonboat.RequestState, error) {
		return n.nh.RequestAddNonVoting(id, r.ReplicaID, raftnet.Target(r.Broker), decidedOn, timeout)
	})
}

// Promote makes a learner of a shard led here a voter, see AddLearner. Whether it has the log is the caller's affair, see
// Progress. A replica that is not a learner is refused with ErrChanged: as a voter from the start it would never stand for
// election.
func (n *Node) Promote(ctx context.Context, id uint64, r Replica, decidedOn uint64) error {
	m, err := n.Membership(ctx, id)
	if err != nil {
		return err
	}
	if broker, ok := m.Learners[r.ReplicaID]; !ok || broker != r.Broker || m.ConfigChangeID != decidedOn {
		return fmt.Errorf("raftnode: shard %d: promote replica %d: %w", id, r.ReplicaID, ErrChanged)
	}
	return n.change(ctx, id, fmt.Sprintf("promote replica %d", r.ReplicaID), func(timeout time.Duration) (*dragonboat.RequestState, error) {
		return n.nh.RequestAddReplica(id, r.ReplicaID, raftnet.Target(r.Broker), decidedOn, timeout)
	})
}

// RemoveReplica removes a voter or learner from a shard led here, see AddLearner. A replica that is no member yet is kept from
// ever being one. The local replica is refused with ErrSelf.
func (n *Node) RemoveReplica(ctx context.Context, id, replica, decidedOn uint64) error {
	what := fmt.Sprintf("remove replica %d", replica)
	if s, ok := n.shard(id); ok && s.self == replica {
		return fmt.Errorf("raftnode: shard %d: %s: %w", id, what, ErrSelf)
	}
	return n.change(ctx, id, what, func(timeout time.Duration) (*dragonboat.RequestState, error) {
		return n.nh.RequestDeleteReplica(id, replica, decidedOn, timeout)
	})
}

// change requests a change of the members and waits until it was applied here. One is under way per shard at most: Dragonboat
// refuses others as busy, for a tick or two also after ctx ended a request.
func (n *Node) change(ctx context.Context, id uint64, what string,
	request func(timeout time.Duration) (*dragonboat.RequestState, error)) error {
	if l, _ := n.Leader(id); !l.Self {
		return fmt.Errorf("raftnode: shard %d: %s: %w", id, what, ErrNotLeader)
	}
	if !n.gate.enter() {
		return ErrStopped
	}
	defer n.gate.leave()
	ctx, done := n.changeContext(ctx)
	defer done()
	deadline, _ := ctx.Deadline()
	rs, err := request(max(time.Until(deadline), 2*n.cfg.Tick)) // it counts in ticks
	if err == nil {
		err = changeOutcome(ctx, rs)
	}
	if err != nil {
		return fmt.Errorf("raftnode: shard %d: %s: %w", id, what, changeError(ctx, err))
	}
	return nil
}

// changeContext bounds a call by ctx, by the node's life and by the time that a proposal may take.
func (n *Node) changeContext(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, done := n.gate.bound(ctx)
	ctx, cancel := context.WithTimeout(ctx, n.cfg.ProposalTimeout)
	return ctx, func() { cancel(); done() }
}

func changeOutcome(ctx context.Context, rs *dragonboat.RequestState) error {
	select {
	case r := <-rs.AppliedC():
		switch {
		case r.Completed():
			return nil
		case r.Rejected():
			return ErrChanged
		case r.Dropped():
			return ErrNotReady
		}
		return ErrUndecided // timed out, or the replica stopped
	case <-ctx.Done():
		return ErrUndecided
	}
}

// changeError maps what Dragonboat answers to the errors above, with the cause if it was ctx.
func changeError(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, dragonboat.ErrRejected):
		return ErrChanged
	case errors.Is(err, dragonboat.ErrTimeout), errors.Is(err, dragonboat.ErrTimeoutTooSmall),
		errors.Is(err, dragonboat.ErrInvalidDeadline), // it is over
		errors.Is(err, dragonboat.ErrCanceled), errors.Is(err, ErrUndecided):
		return errors.Join(ErrUndecided, ctx.Err())
	}
	return refusal(err)
}
