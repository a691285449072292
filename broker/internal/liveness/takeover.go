package liveness

import (
	"context"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/trunkline/trunkline/protocol"
)

// Shard is one Raft shard that has a replica on this broker.
type Shard struct {
	ID       uint64
	Term     uint64              // the term the local replica is in
	Replicas []protocol.BrokerID // voters, the preferred leader first
}

// Shards is what a takeover needs to know of the local replicas. Its methods must not wait for a disk.
type Shards interface {
	// Led returns the shards that the local replica believes to be led by that broker; Led(0) those without a leader.
	Led(by protocol.BrokerID) []Shard
	// Leader returns the leader (0 if none is known) and the term the local replica is in; ok is false if the
	// shard has no replica here any more.
	Leader(shard uint64) (leader protocol.BrokerID, term uint64, ok bool)
	// Campaign asks the local replica to campaign at once. It may be skipped in silence and is then asked again.
	Campaign(shard uint64)
}

// TakeoverConfig describes a Takeover.
type TakeoverConfig struct {
	Detector   *Detector
	Shards     Shards
	Log        *slog.Logger
	Registerer prometheus.Registerer
}

// Takeover lets local replicas campaign for the shards of deposed leaders.
type Takeover struct{}

// NewTakeover returns a Takeover that does nothing until Start.
func NewTakeover(cfg TakeoverConfig) *Takeover { return &Takeover{} }

// Start begins to act. It ends with ctx or by Close.
func (t *Takeover) Start(ctx context.Context) {}

// Close ends the goroutine and waits for it. It is idempotent.
func (t *Takeover) Close() {}
