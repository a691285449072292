package session

import (
	"context"

	"github.com/trunkline/trunkline/broker/internal/feed"
	"github.com/trunkline/trunkline/broker/internal/meta"
	"github.com/trunkline/trunkline/broker/internal/partition"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/wire"
)

// FromMeta serves the metadata of s.
func FromMeta(s *meta.Service) Meta { return metadata{meta.NewView(s), s} }

type metadata struct {
	*meta.View
	service *meta.Service
}

func (m metadata) Deleted(id protocol.TopicID) bool { return m.service.Image().Deleted(id) }

// FromLeaders serves the leaders in l.
func FromLeaders(l *meta.Leaders) Leaders { return leaders{l} }

type leaders struct{ *meta.Leaders }

func (l leaders) Follow() LeaderChanges { return l.Leaders.Follow() }

// FromReplicas serves the replicas that get finds.
func FromReplicas(get func(protocol.TopicPartition) (*partition.Partition, bool)) Partitions {
	return replicas(get)
}

type replicas func(protocol.TopicPartition) (*partition.Partition, bool)

func (r replicas) Partition(tp protocol.TopicPartition) (Partition, bool) {
	p, ok := r(tp)
	return replica{p}, ok
}

// replica is a partition and the state machine it reads from, as one.
type replica struct{ *partition.Partition }

func (r replica) CursorOpen(ctx context.Context, sub string, ifNew protocol.Offset) (feed.Cursor, error) {
	c, err := r.Partition.CursorOpen(ctx, sub, ifNew)
	return feed.Cursor(c), err
}

func (r replica) CursorActivate(ctx context.Context, sub string) (feed.Cursor, error) {
	c, err := r.Partition.CursorActivate(ctx, sub)
	return feed.Cursor(c), err
}

func (r replica) Cursor(sub string) (feed.Cursor, bool) {
	c, ok := r.FSM().Cursor(sub)
	return feed.Cursor(c), ok
}

func (r replica) Cursors() map[string]feed.Cursor {
	all := r.FSM().Cursors()
	out := make(map[string]feed.Cursor, len(all))
	for name, c := range all {
		out[name] = feed.Cursor(c)
	}
	return out
}

func (r replica) Ready() error                                    { return r.FSM().Ready() }
func (r replica) Bounds() (start, next protocol.Offset)           { return r.FSM().Bounds() }
func (r replica) OffsetForTime(ms int64) (protocol.Offset, error) { return r.FSM().OffsetForTime(ms) }
func (r replica) Appended() <-chan struct{}                       { return r.FSM().Appended() }
func (r replica) Read(from protocol.Offset, most int, dst []byte) ([]byte, error) {
	return r.FSM().Read(from, most, dst)
}

func (r replica) State() wire.PartitionState {
	f, status := r.FSM(), r.Status()
	s := wire.PartitionState{
		Leader: status.Leader, Epoch: status.Epoch, Leading: status.Leading,
		Bytes: uint64(max(0, f.LogBytes())), Applied: f.Applied(),
	}
	s.Start, s.Next = f.Bounds()
	return s
}
