package raftnet

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/trunkline/trunkline/protocol"
)

// Bounds. Each states what happens when it is reached.
const (
	// DefaultQueueBytes bounds the bulk messages waiting for one peer; a batch that does not fit is dropped
	// and Raft is told that the peer was unreachable, so that it sends again. A batch always fits an empty queue.
	DefaultQueueBytes = 32 << 20
	// urgentQueueBytes bounds the heartbeats, votes and answers waiting for one peer; more are dropped.
	urgentQueueBytes = 4 << 20
	// livenessQueueBytes bounds the pings and announcements waiting for one peer; more are dropped.
	livenessQueueBytes = 512 << 10
	// MaxLivenessBytes bounds one liveness payload; Send refuses longer ones.
	MaxLivenessBytes = 64<<10 + 1024
	// maxRaftFrame is Dragonboat's largest message batch (64 MiB) and slack for one oversized message.
	maxRaftFrame = 64<<20 + 4<<20
	// maxSnapshotFrame is a chunk of 2 MiB with its metadata.
	maxSnapshotFrame = 8 << 20
	// maxHandshakes bounds the inbound connections that have not finished their handshake; more are closed at once.
	maxHandshakes = 64
	// maxSnapshotsPerPeer bounds the inbound snapshot connections of one peer; more are refused.
	maxSnapshotsPerPeer = 64
	// DefaultSnapshotBytesPerSecond throttles all outgoing snapshot streams together.
	DefaultSnapshotBytesPerSecond = 64 << 20
)

// TLSSource gives the configuration of each mutual TLS handshake. It is asked again for every connection, so
// that certificates can be rotated. pki.Source implements it.
type TLSSource interface {
	Server() (*tls.Config, error)
	Client(serverName string) (*tls.Config, error)
}

// Config describes one broker's end of the Raft network. ClusterID, Self, BootID, DirID, Addr, Peers and TLS are
// required; the hooks may be nil.
type Config struct {
	ClusterID uint64
	Self      protocol.BrokerID
	BootID    [16]byte // random per process
	DirID     [16]byte // random per data directory
	// Levels are told to the peers, and mean nothing here.
	Levels protocol.Levels
	// Listen is the TCP address to bind; Listener, if set, is used instead and owned by the Network.
	Listen   string
	Listener net.Listener
	// Addr is where the peers reach this broker; "" means the bound address. It only stands in handshakes, for people.
	Addr string
	// Peers is the first book, see SetPeers.
	Peers map[protocol.BrokerID]string
	TLS   TLSSource
	// CheckPeer may refuse a broker, peer or not, after its handshake message was read and its certificate was found to be
	// its own. It is called from many goroutines, from New on.
	CheckPeer func(PeerHello) *Reject
	// OnRejected is told when a peer refuses us for a reason that trying again does not cure, see RejectCode.Retryable. It is not told
	// what somebody else says who answers at the peer's address.
	OnRejected func(protocol.BrokerID, Reject)
	// OnPeerDown is told when the incarnation boot of a broker is known to be gone: all its connections closed and a
	// redial refused, or a new incarnation was met. boot is zero if the broker was never met. OnPeerUp is told
	// when an incarnation was met by a handshake. Both are called in order per broker and must not block.
	OnPeerDown func(b protocol.BrokerID, boot [16]byte, cause string)
	OnPeerUp   func(b protocol.BrokerID, boot [16]byte)
	// OnPeerLost is told of each connection with the incarnation boot that ended while the incarnation is not known to be gone.
	OnPeerLost func(b protocol.BrokerID, boot [16]byte)

	// OnFetch answers what a peer asks with Fetch, with at most MaxFetchBytes. It is called from many goroutines, from
	// Start on, may read from a disk and must not keep the request. nil: nothing is answered.
	OnFetch func(from protocol.BrokerID, request []byte) []byte

	// OnJoin answers what a broker asks with Join, with at most MaxJoinAnswer bytes; it must obey ctx, and JoinTimeout
	// bounds it. The broker may be no peer: cluster, certificate and CheckPeer are all that was checked. It is called from
	// several goroutines, from Start on, and must not keep the request. nil: every join is refused.
	OnJoin func(ctx context.Context, from PeerHello, request []byte) []byte

	// HoldFrom is the first shard whose commit notices may wait, see holder: of such shards nobody reads a follower.
	// 0 means that none may.
	HoldFrom               uint64
	SnapshotBytesPerSecond int // 0 means DefaultSnapshotBytesPerSecond
	QueueBytes             int // 0 means DefaultQueueBytes
	Log                    *slog.Logger
	Registerer             prometheus.Registerer
}

func (c *Config) validate() error {
	var zero [16]byte
	switch {
	case c.Self == 0:
		return errors.New("raftnet: config: Self is 0")
	case c.BootID == zero:
		return errors.New("raftnet: config: BootID is zero")
	case c.DirID == zero:
		return errors.New("raftnet: config: DirID is zero")
	case c.TLS == nil:
		return errors.New("raftnet: config: TLS is nil")
	case c.Listener == nil && c.Listen == "":
		return errors.New("raftnet: config: neither Listen nor Listener")
	}
	if err := checkBook(c.Peers); err != nil {
		return err
	}
	if c.SnapshotBytesPerSecond <= 0 {
		c.SnapshotBytesPerSecond = DefaultSnapshotBytesPerSecond
	}
	if c.QueueBytes <= 0 {
		c.QueueBytes = DefaultQueueBytes
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// PeerHello is what a broker says of itself in the handshake.
type PeerHello struct {
	ClusterID uint64
	Broker    protocol.BrokerID
	BootID    [16]byte
	DirID     [16]byte
	Addr      string // its Raft address
	Levels    protocol.Levels
}

// RejectCode is the stable number of a refused handshake. Never renumber.
type RejectCode uint16

// The reasons to refuse a handshake.
const (
	RejectVersion        RejectCode = 1 // the handshake version is not spoken here, or CheckPeer says that the level of the cluster is not understood there
	RejectForeignCluster RejectCode = 2 // the cluster ID differs
	RejectUnknownBroker  RejectCode = 3 // the broker is not in the book of peers, or not yet
	RejectWrongBroker    RejectCode = 4 // the connection reached another broker than it was meant for
	RejectCertificate    RejectCode = 5 // the certificate was issued to another broker
	RejectWipedDirectory RejectCode = 6 // the data directory is not the one the broker registered with
	RejectBusy           RejectCode = 7 // not now: starting, or the previous incarnation is not yet gone
	RejectOther          RejectCode = 8 // refused by CheckPeer for a reason of its own
	RejectRetired        RejectCode = 9 // the broker was taken out of the cluster for good; said by CheckPeer
)

// Retryable reports whether trying again without any change can help. RejectUnknownBroker is retryable however long it
// lasts: who has just joined is told so by every peer that has not read the metadata since, and one that is cut off from
// it must not stop the newcomer. Who was retired is told RejectRetired.
func (c RejectCode) Retryable() bool { return c == RejectBusy || c == RejectUnknownBroker }

// String returns a short name for logs and metrics.
func (c RejectCode) String() string {
	switch c {
	case RejectVersion:
		return "version"
	case RejectForeignCluster:
		return "foreign_cluster"
	case RejectUnknownBroker:
		return "unknown_broker"
	case RejectWrongBroker:
		return "wrong_broker"
	case RejectCertificate:
		return "certificate"
	case RejectWipedDirectory:
		return "wiped_directory"
	case RejectBusy:
		return "busy"
	case RejectRetired:
		return "retired"
	}
	return "other"
}

// Reject is a refused handshake: a stable code and a sentence for people.
type Reject struct {
	Code   RejectCode
	Reason string
}

func (r *Reject) Error() string { return "handshake refused (" + r.Code.String() + "): " + r.Reason }
