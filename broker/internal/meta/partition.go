package meta

import (
	"cmp"
	"slices"

	"github.com/trunkline/trunkline/protocol"
)

// Replica is one copy of a partition. The zero Replica stands for none.
type Replica struct {
	Broker    protocol.BrokerID
	ReplicaID uint64 // of Raft; never used again in the same shard
}

// Move is a change of a partition's replicas that is under way. At least one of Add and Remove is set.
type Move struct {
	ID     uint64 // never used again
	Add    Replica
	Remove Replica // one of the partition's Replicas
	Undo   bool    // to be taken back, as long as Remove still votes
}

// Partition is the placement of one partition. Replicas are its voters before the move, the preferred leader first.
type Partition struct {
	Shard    uint64
	Replicas []Replica
	Move     *Move // nil: none
	// Founders are the brokers of the replicas with which the shard began, whose IDs are their brokers'. A replica that was never
	// started yet has to begin with the same list as the others did, whatever was moved since. Unknown (nil) of the metadata shard.
	Founders []protocol.BrokerID
}

// On returns the replica on broker b, if there is one. One that a move adds does not count yet; see Placed.
func (p *Partition) On(b protocol.BrokerID) (Replica, bool) {
	for _, r := range p.Replicas {
		if r.Broker == b {
			return r, true
		}
	}
	return Replica{}, false
}

// Placed returns the replica that broker b has to run, if there is one: one of Replicas, or, joining, the one that the
// move adds.
func (p *Partition) Placed(b protocol.BrokerID) (r Replica, joining, ok bool) {
	if r, ok = p.On(b); ok {
		return r, false, true
	}
	if p.Move != nil && b != 0 && p.Move.Add.Broker == b {
		return p.Move.Add, true, true
	}
	return Replica{}, false, false
}

// Brokers returns the brokers of Replicas.
func (p *Partition) Brokers() []protocol.BrokerID {
	out := make([]protocol.BrokerID, len(p.Replicas))
	for i, r := range p.Replicas {
		out[i] = r.Broker
	}
	return out
}

// after returns the replicas as they are when the move is finished. What is added takes the place of what is removed,
// so that a preferred leader is succeeded by its replacement.
func (p *Partition) after() []Replica {
	out := slices.Clone(p.Replicas)
	switch m := p.Move; {
	case m == nil:
		return out
	case m.Remove == (Replica{}):
		return append(out, m.Add)
	case m.Add == (Replica{}):
		return slices.DeleteFunc(out, func(r Replica) bool { return r == m.Remove })
	default:
		out[slices.Index(out, m.Remove)] = m.Add
		return out
	}
}

// Metadata names the metadata shard where a partition is asked for: no topic has ID 0.
var Metadata protocol.TopicPartition

// Moving is a move and where it is under way.
type Moving struct {
	TP    protocol.TopicPartition // Metadata for the metadata shard
	Shard uint64
	Move
}

// Moves returns all moves under way, by ID. The caller must not change the slice.
func (im *Image) Moves() []Moving { return im.moves }

// Placement returns the placement of one partition, or of the metadata shard for Metadata.
func (im *Image) Placement(tp protocol.TopicPartition) (*Partition, bool) {
	if tp == Metadata {
		return &im.Meta, true
	}
	return im.Partition(tp)
}

// withPlacement returns a copy in which tp, which exists, is placed as p says.
func (im *Image) withPlacement(tp protocol.TopicPartition, p Partition) *Image {
	var c *Image
	if tp == Metadata {
		c = im.next()
		c.Meta = p
	} else {
		old, _ := im.Topic(tp.Topic)
		t := *old
		t.Partitions = slices.Clone(old.Partitions)
		t.Partitions[tp.Partition] = p
		c = im.withTopic(&t)
	}
	c.moves = im.movesExcept(func(other protocol.TopicPartition) bool { return other == tp })
	if p.Move != nil {
		i, _ := findMove(c.moves, p.Move.ID)
		c.moves = slices.Insert(c.moves, i, Moving{TP: tp, Shard: p.Shard, Move: *p.Move})
	}
	return c
}

// movesExcept returns a copy of the moves without those of the partitions that drop names; nil for none, as an image
// without moves has.
func (im *Image) movesExcept(drop func(protocol.TopicPartition) bool) []Moving {
	var out []Moving
	for _, m := range im.moves {
		if !drop(m.TP) {
			out = append(out, m)
		}
	}
	return out
}

func findMove(moves []Moving, id uint64) (int, bool) {
	return slices.BinarySearchFunc(moves, id, func(m Moving, id uint64) int { return cmp.Compare(m.ID, id) })
}
