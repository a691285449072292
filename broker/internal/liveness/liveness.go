package liveness

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/trunkline/trunkline/protocol"
)

// Port carries small payloads between brokers: unreliable, in order, never blocking. raftnet.Port implements it.
type Port interface {
	Send(to protocol.BrokerID, payload []byte) bool
	Receive(fn func(from protocol.BrokerID, payload []byte))
}

// State is what this broker believes about another one.
type State uint8

// The states.
const (
	Unknown State = iota // never heard
	Alive                // heard within SilentAfter
	Suspect              // not heard for SilentAfter by this broker
	Dead                 // its process is known to be gone
)

// View is what this broker believes about another one, with the times.
type View struct {
	Broker      protocol.BrokerID
	State       State
	Since       time.Time // when State began
	Heard       time.Time // zero if never
	StalledDisk bool      // it says that its disk hangs
	BootID      [16]byte
}

// Config describes a Detector.
type Config struct {
	Self         protocol.BrokerID
	BootID       [16]byte
	Peers        []protocol.BrokerID // all other brokers; Self is ignored
	Port         Port
	PingInterval time.Duration // default 50 ms
	SilentAfter  time.Duration // default 400 ms
	DiskStalled  func() bool   // called for each ping; must not block; may be nil
	// OnChange is told of every change of a state, OnTick is called each PingInterval. They are called from
	// one goroutine that is not the pinging one, so they may take their time.
	OnChange func(View)
	OnTick   func(now time.Time)
	// OnPayload gets what other brokers broadcast. It must not block and must not keep the payload.
	OnPayload  func(from protocol.BrokerID, payload []byte)
	Log        *slog.Logger
	Registerer prometheus.Registerer
}

// Detector watches the other brokers.
type Detector struct{}

// New returns a Detector that does nothing until Start.
func New(cfg Config) *Detector { return &Detector{} }

// Start begins to ping. The Detector ends with ctx or by Close.
func (d *Detector) Start(ctx context.Context) {}

// Close ends all goroutines and waits for them. It is idempotent.
func (d *Detector) Close() {}

// PeerDown is for raftnet's hook: the incarnation boot of b is gone. It never blocks.
func (d *Detector) PeerDown(b protocol.BrokerID, boot [16]byte, cause string) {}

// PeerUp is for raftnet's hook: the incarnation boot of b was met. It never blocks.
func (d *Detector) PeerUp(b protocol.BrokerID, boot [16]byte) {}

// Views returns what is believed of every peer, by broker ID.
func (d *Detector) Views() []View { return nil }

// Alive reports whether b was heard lately. Self is alive.
func (d *Detector) Alive(b protocol.BrokerID) bool { return false }

// Deposed reports whether leadership may be taken from leader in a shard with these replicas (brokers, leader included).
func (d *Detector) Deposed(leader protocol.BrokerID, replicas []protocol.BrokerID) bool { return false }

// HearsMajority reports whether this broker hears a majority of replicas; itself counts if it is one of them.
func (d *Detector) HearsMajority(replicas []protocol.BrokerID) bool { return false }

// MaxPayload bounds what Broadcast carries.
const MaxPayload = 64 << 10

// Broadcast sends payload to every connected peer. It never blocks; who is not connected does not get it.
func (d *Detector) Broadcast(payload []byte) {}
