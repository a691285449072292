package session

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/trunkline/trunkline/broker/internal/feed"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/wire"
)

// Config says what to serve and within which limits.
type Config struct {
	Cluster string
	Self    protocol.BrokerID
	Version string   // of the broker's software
	Tokens  [][]byte // a client must send one of them; none: everybody may come in

	Meta       Meta
	Leaders    Leaders
	Partitions Partitions
	Alive      func(protocol.BrokerID) bool // nil: all are
	Status     func() wire.ClusterStatus    // answers ClusterStatus requests
	Plan       func() wire.ClusterPlan      // answers ClusterPlan requests; nil: they are not supported
	// RaiseLevel answers RaiseLevel requests with the level that the cluster has then; nil: they are not supported.
	RaiseLevel func(context.Context, protocol.Level) (protocol.Level, error)

	Limits Limits
	Feed   feed.Config // Partitions, Log and Registerer are set by NewServer

	Log        *slog.Logger          // nil: none
	Registerer prometheus.Registerer // nil: none
}

// Limits are the bounds of connections. Zero fields take the default.
type Limits struct {
	MaxRecordBytes int // told to clients, default protocol.DefaultMaxRecordBytes
	MaxBatchBytes  int // default protocol.DefaultMaxBatchBytes

	// InFlightBytes bounds the publishes of one connection that are being read or not yet answered.
	// At the bound streams that wait for no answer go on up to four times as many, so that a stalled
	// partition does not stall the others. Default 32 MiB.
	InFlightBytes int
	// ServerInFlightBytes bounds the memory for the same of all connections together. Default 256 MiB.
	ServerInFlightBytes int
	// DeliverBytes bounds the batches of one connection that were read from the log and that QUIC has
	// not taken yet. Default 32 MiB.
	DeliverBytes int

	// MaxRequests bounds the requests of one connection that are being served or whose responses the client
	// has not taken yet. Default 16.
	MaxRequests int

	Heartbeat     time.Duration // clients ping at least this often, default 500 ms
	HeartbeatLost time.Duration // silence that ends a connection, default 1.5 s

	HelloTimeout   time.Duration // from the handshake to the hello, default 3 s
	OpenTimeout    time.Duration // for the first frame of a stream, default 5 s
	BodyTimeout    time.Duration // for the body of a batch, once its header came, default 10 s
	WriteTimeout   time.Duration // for one write, default 10 s
	RequestTimeout time.Duration // for one request or opening, default 10 s
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (l Limits) withDefaults() Limits {
	setDefault(&l.MaxRecordBytes, protocol.DefaultMaxRecordBytes)
	setDefault(&l.MaxBatchBytes, protocol.DefaultMaxBatchBytes)
	setDefault(&l.InFlightBytes, 32<<20)
	setDefault(&l.ServerInFlightBytes, 256<<20)
	setDefault(&l.DeliverBytes, 32<<20)
	setDefault(&l.MaxRequests, 16)
	setDefault(&l.Heartbeat, 500*time.Millisecond)
	setDefault(&l.HeartbeatLost, 1500*time.Millisecond)
	setDefault(&l.HelloTimeout, 3*time.Second)
	setDefault(&l.OpenTimeout, 5*time.Second)
	setDefault(&l.BodyTimeout, 10*time.Second)
	setDefault(&l.WriteTimeout, 10*time.Second)
	setDefault(&l.RequestTimeout, 10*time.Second)
	l.InFlightBytes = max(l.InFlightBytes, l.MaxBatchBytes)
	l.ServerInFlightBytes = max(l.ServerInFlightBytes, l.InFlightBytes)
	return l
}

func (c Config) withDefaults() Config {
	c.Limits = c.Limits.withDefaults()
	setDefault(&c.Feed.ChunkBytes, 128<<10)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Alive == nil {
		c.Alive = func(protocol.BrokerID) bool { return true }
	}
	return c
}

func (c *Config) validate() error {
	switch {
	case c.Self == 0:
		return errors.New("session: no broker ID")
	case c.Meta == nil || c.Leaders == nil || c.Partitions == nil || c.Status == nil:
		return errors.New("session: Meta, Leaders, Partitions and Status are required")
	case c.Limits.MaxBatchBytes > protocol.MaxBatchBytesLimit:
		return errors.New("session: MaxBatchBytes is above the protocol's limit")
	case c.Limits.HeartbeatLost < 2*c.Limits.Heartbeat:
		return errors.New("session: HeartbeatLost must be at least twice Heartbeat")
	}
	return nil
}
