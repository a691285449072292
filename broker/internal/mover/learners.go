package mover

import (
	"context"
	"fmt"

	"github.com/trunkline/trunkline/broker/internal/meta"
	"github.com/trunkline/trunkline/broker/internal/raftnode"
)

// learners does one change towards this: each registered broker has a replica of the metadata shard, unless it was removed
// as a voter, and no retired one has. It asks Raft for the membership only when the image is another than the one for which nothing was to be done.
func (m *Mover) learners(ctx context.Context, im *meta.Image) error {
	if m.settled.Load() == im {
		return nil
	}
	is, err := m.cfg.Raft.Membership(ctx, raftnode.MetaShard)
	if err != nil {
		return fmt.Errorf("read the membership: %w", err)
	}
	for _, b := range im.Brokers() {
		id := uint64(b.ID)
		_, voter := is.Voters[id]
		_, learner := is.Learners[id]
		_, gone := is.Removed[id] // for good: it leaves, and is about to be retired
		if voter || learner || gone {
			continue
		}
		m.cfg.Log.Info("broker gets the metadata", "member", id)
		return m.cfg.Raft.AddLearner(ctx, raftnode.MetaShard, raftnode.Replica{Broker: b.ID, ReplicaID: id}, is.ConfigChangeID)
	}
	for id, b := range is.Learners {
		if im.Retired(b) {
			m.cfg.Log.Info("broker is retired from the metadata", "member", id)
			return m.cfg.Raft.RemoveReplica(ctx, raftnode.MetaShard, id, is.ConfigChangeID)
		}
	}
	m.settled.Store(im)
	return nil
}
