package partition

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/trunkline/trunkline/broker/internal/fsm"
	"github.com/trunkline/trunkline/broker/internal/raftnode"
	"github.com/trunkline/trunkline/protocol"
)

// Node is the part of raftnode.Node that a partition uses.
type Node interface {
	Propose(shard uint64, cmd []byte) (*raftnode.Proposal, error)
	Transfer(ctx context.Context, shard uint64, to protocol.BrokerID, h raftnode.Handover) error
	Compact(ctx context.Context, shard, keepFrom uint64) error
}

// Config describes one replica. The zero value of an optional field is its default.
type Config struct {
	TP    protocol.TopicPartition
	Topic string // its name, for logs
	Shard uint64
	Self  protocol.BrokerID
	Node  Node
	FSM   *fsm.Machine // the state machine that Node runs for Shard

	// MaxPendingBytes bounds the batches accepted and not yet answered; Append waits at the bound. Default 8 MiB.
	MaxPendingBytes int
	// MaxProposalBytes is where a proposal takes no further operation. Default 1 MiB.
	MaxProposalBytes int
	// MaxProposals bounds the proposals outstanding. Default 4.
	MaxProposals int
	// ProposalTimeout is after how long a proposal that does not end is given up and made again, in a new epoch.
	// It is a backstop: lost leadership and lost proposals are noticed at once. Default 5 s.
	ProposalTimeout time.Duration
	// PendingTimeout is after how long an operation whose proposals keep failing is answered as failed. Default 10 s.
	PendingTimeout time.Duration

	// RetentionEvery is how often the leader looks for records to drop. Default 1 min. See SetRetention.
	RetentionEvery time.Duration
	// CompactBytes and CompactEntries are how much may be applied between two compactions of the Raft log, whichever
	// comes first; about half of it is kept. Defaults 64 MiB and 20 000.
	CompactBytes   uint64
	CompactEntries uint64
	// UpkeepEvery is how often retention and compaction are looked at. Default 2 s.
	UpkeepEvery time.Duration

	Now func() time.Time // default time.Now

	// OnLeading is called when an epoch was begun and applied here, each time before anything is proposed in it;
	// OnFollowing when leading ended after at least one OnLeading. Both in order, from one goroutine at a time; they
	// must not block.
	OnLeading   func(protocol.Epoch)
	OnFollowing func()

	Log     *slog.Logger
	Metrics *Metrics // shared by all partitions; nil: none
}

func (c Config) withDefaults() Config {
	defaultTo(&c.MaxPendingBytes, 8<<20)
	defaultTo(&c.MaxProposalBytes, 1<<20)
	defaultTo(&c.MaxProposals, 4)
	defaultTo(&c.ProposalTimeout, 5*time.Second)
	defaultTo(&c.PendingTimeout, 10*time.Second)
	defaultTo(&c.RetentionEvery, time.Minute)
	defaultTo(&c.CompactBytes, 64<<20)
	defaultTo(&c.CompactEntries, 20_000)
	defaultTo(&c.UpkeepEvery, 2*time.Second)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.OnLeading == nil {
		c.OnLeading = func(protocol.Epoch) {}
	}
	if c.OnFollowing == nil {
		c.OnFollowing = func() {}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(nil)
	}
	c.Log = c.Log.With("topic", c.Topic, "partition", uint32(c.TP.Partition), "shard", c.Shard)
	return c
}

func defaultTo[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

func (c Config) validate() error {
	switch {
	case c.Node == nil || c.FSM == nil:
		return errors.New("partition: config: no node or state machine")
	case c.Self == 0 || c.Shard == 0:
		return errors.New("partition: config: no broker ID or shard")
	case c.MaxPendingBytes < 1 || c.MaxProposalBytes < 1 || c.MaxProposals < 1:
		return errors.New("partition: config: a bound is not positive")
	case c.ProposalTimeout <= 0 || c.PendingTimeout <= 0 || c.UpkeepEvery <= 0 || c.RetentionEvery <= 0:
		return errors.New("partition: config: a duration is not positive")
	}
	return nil
}
