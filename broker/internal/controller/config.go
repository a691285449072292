package controller

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/trunkline/trunkline/broker/internal/fsm"
	"github.com/trunkline/trunkline/broker/internal/meta"
	"github.com/trunkline/trunkline/broker/internal/partition"
	"github.com/trunkline/trunkline/broker/internal/raftnode"
	"github.com/trunkline/trunkline/broker/internal/storefs"
	"github.com/trunkline/trunkline/protocol"
)

// Meta is the part of meta.Service that the controller uses.
type Meta interface {
	Image() *meta.Image
	Changed() <-chan struct{}
	// Sync returns once Image holds everything committed before the call.
	Sync(context.Context) error
}

// Config describes a Controller. Optional fields say so.
type Config struct {
	Self    protocol.BrokerID
	Dir     string     // of all partitions of this broker; created by Start
	DirID   meta.DirID // of the broker's data directory
	Meta    Meta
	Leaders *meta.Leaders
	Node    *raftnode.Node
	// Founders are the brokers that founded the metadata shard, the preferred leader first; a broker that joined need not know
	// them. On the voters of the shard it takes part in takeovers and Drain like a partition.
	Founders []protocol.BrokerID

	// Machine and Partition are what all replicas have in common; what belongs to one replica is filled in. Optional.
	Machine   fsm.Config
	Partition partition.Config

	Broadcast func([]byte)                 // at most meta.MaxAnnounceBytes to all other brokers; must not block
	Alive     func(protocol.BrokerID) bool // candidates for Drain; nil: all
	Roomy     func(protocol.BrokerID) bool // candidates for Relieve: alive, and would take publishes; nil: as Alive
	// Steady tells which brokers may be given the leaderships that they are preferred for: those of Roomy that have been alive for a
	// while. nil: none, leaderships stay where they are.
	Steady       func(protocol.BrokerID) bool
	Parallel     int           // replicas started at one time. Default 16.
	FetchFrom    FetchFrom     // repairs damaged replicas; nil: they stay damaged
	ScrubEvery   time.Duration // between the beginnings of two scrubs of all that is stored. Default 24 h.
	ScrubRate    int           // bytes a second that a scrub reads at most. Default 16 MiB.
	MoveRate     int           // bytes a second of snapshots sent for moves that repair nothing, of all partitions together. Default 16 MiB.
	RefreshEvery time.Duration // between repeated announcements. Default 1 s.
	// OnFatal is called once when the broker must not go on, with a message for its operator. Optional.
	OnFatal func(error)

	FS         storefs.FS            // default storefs.OS
	Log        *slog.Logger          // nil: none
	Registerer prometheus.Registerer // nil: no metrics
}

// Defaults of Config.
const (
	DefaultScrubEvery = 24 * time.Hour
	DefaultScrubRate  = 16 << 20
	DefaultMoveRate   = 16 << 20
)

// Retry of a start or removal that failed, and the parallelism of removals and transfers.
const (
	retryMin         = 200 * time.Millisecond
	retryMax         = 30 * time.Second
	removeParallel   = 4
	transferParallel = 16
)

func (c Config) withDefaults() Config {
	if c.Broadcast == nil {
		c.Broadcast = func([]byte) {}
	}
	if c.Alive == nil {
		c.Alive = func(protocol.BrokerID) bool { return true }
	}
	if c.Roomy == nil {
		c.Roomy = c.Alive
	}
	if c.Steady == nil {
		c.Steady = func(protocol.BrokerID) bool { return false }
	}
	if c.Parallel <= 0 {
		c.Parallel = 16
	}
	if c.RefreshEvery <= 0 {
		c.RefreshEvery = time.Second
	}
	if c.ScrubEvery <= 0 {
		c.ScrubEvery = DefaultScrubEvery
	}
	if c.ScrubRate <= 0 {
		c.ScrubRate = DefaultScrubRate
	}
	if c.MoveRate <= 0 {
		c.MoveRate = DefaultMoveRate
	}
	if c.OnFatal == nil {
		c.OnFatal = func(error) {}
	}
	if c.FS == nil {
		c.FS = storefs.OS
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

func (c *Config) validate() error {
	switch {
	case c.Self == 0:
		return errors.New("controller: config: broker ID is 0")
	case c.Dir == "":
		return errors.New("controller: config: no directory")
	case c.Meta == nil || c.Leaders == nil:
		return errors.New("controller: config: no metadata")
	}
	return nil
}
