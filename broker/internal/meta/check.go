package meta

import (
	"fmt"
	"slices"

	"github.com/trunkline/trunkline/broker/internal/raftnode"
	"github.com/trunkline/trunkline/protocol"
)

// check reports what of a decoded image breaks the package's invariants.
func (im *Image) check() error {
	if err := im.checkMembers(); err != nil {
		return err
	}
	if im.Partitions > MaxTotalPartitions || len(im.moves) > MaxMoves {
		return fmt.Errorf("%d partitions and %d moves, at most %d and %d are allowed",
			im.Partitions, len(im.moves), MaxTotalPartitions, MaxMoves)
	}
	for i := 1; i < len(im.moves); i++ {
		if im.moves[i-1].ID == im.moves[i].ID {
			return fmt.Errorf("move %d is under way twice", im.moves[i].ID)
		}
	}
	for i, t := range im.byID {
		if i > 0 && im.byID[i-1].ID >= t.ID || i > 0 && im.byName[i-1].Name == im.byName[i].Name || t.ID >= im.NextTopic {
			return fmt.Errorf("topic %d (%q) is out of order or not unique", t.ID, t.Name)
		}
		if len(t.Partitions) == 0 || t.Replicas == 0 {
			return fmt.Errorf("topic %d (%q) has %d partitions of %d replicas", t.ID, t.Name, len(t.Partitions), t.Replicas)
		}
		for k := range t.Partitions {
			p := &t.Partitions[k]
			if err := im.checkPlacement(p, protocol.MaxReplicas); err != nil {
				return fmt.Errorf("partition %d/%d: %w", t.ID, k, err)
			}
			if p.Shard < FirstShard || p.Shard >= im.NextShard || len(p.Replicas) == 0 {
				return fmt.Errorf("partition %d/%d: shard %d with %d replicas, next shard is %d",
					t.ID, k, p.Shard, len(p.Replicas), im.NextShard)
			}
		}
	}
	return nil
}

func (im *Image) checkMembers() error {
	if im.Level < LevelFirst {
		return fmt.Errorf("the cluster's level is %d", im.Level)
	}
	for i, b := range im.brokers {
		if i > 0 && im.brokers[i-1].ID >= b.ID {
			return fmt.Errorf("broker %d is out of order", b.ID)
		}
		if b.ID == 0 || uint64(b.ID) > MaxBrokerID || !b.State.Known() || im.Retired(b.ID) {
			return fmt.Errorf("broker %d (%s) cannot be", b.ID, b.State)
		}
	}
	for i := 1; i < len(im.retired); i++ {
		if im.retired[i-1] >= im.retired[i] {
			return fmt.Errorf("retired broker %d is out of order", im.retired[i])
		}
	}
	if im.NextReplica < FirstReplica || im.NextMove == 0 || im.Meta.Shard != raftnode.MetaShard {
		return fmt.Errorf("next replica %d, next move %d, metadata shard %d", im.NextReplica, im.NextMove, im.Meta.Shard)
	}
	if err := im.checkPlacement(&im.Meta, MaxBrokers); err != nil {
		return fmt.Errorf("metadata: %w", err)
	}
	return nil
}

// checkPlacement checks that every replica is on another registered broker, and the move, if there is one.
func (im *Image) checkPlacement(p *Partition, most int) error {
	replicas := slices.Clone(p.Replicas)
	if m := p.Move; m != nil {
		if m.ID == 0 || m.ID >= im.NextMove || m.Add == m.Remove || len(p.Replicas) == 0 {
			return fmt.Errorf("move %d of %d replicas cannot be", m.ID, len(p.Replicas))
		}
		if m.Remove != (Replica{}) && !slices.Contains(p.Replicas, m.Remove) {
			return fmt.Errorf("move %d removes broker %d, which has no replica", m.ID, m.Remove.Broker)
		}
		if m.Add != (Replica{}) {
			replicas = append(replicas, m.Add)
		}
	}
	if len(p.Replicas) > most || p.Move != nil && len(p.after()) > most || p.Move != nil && len(p.after()) == 0 {
		return fmt.Errorf("%d replicas, 1 to %d are allowed", len(p.Replicas), most)
	}
	for i, r := range replicas {
		if _, ok := im.findBroker(r.Broker); !ok {
			return fmt.Errorf("broker %d is not registered", r.Broker)
		}
		if r.ReplicaID != uint64(r.Broker) && (r.ReplicaID < FirstReplica || r.ReplicaID >= im.NextReplica) {
			return fmt.Errorf("replica %d on broker %d was never assigned", r.ReplicaID, r.Broker)
		}
		for _, o := range replicas[:i] {
			if o.Broker == r.Broker || o.ReplicaID == r.ReplicaID {
				return fmt.Errorf("replicas %d and %d are on brokers %d and %d", o.ReplicaID, r.ReplicaID, o.Broker, r.Broker)
			}
		}
	}
	return nil
}
