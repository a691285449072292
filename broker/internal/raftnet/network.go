package raftnet

import (
	"context"
	"errors"

	"github.com/lni/dragonboat/v4/config"
	pb "github.com/lni/dragonboat/v4/raftpb"

	"github.com/trunkline/trunkline/protocol"
)

var errTODO = errors.New("raftnet: not there yet")

// Network is one broker's end of the connections between brokers.
type Network struct{}

// New binds the listener and answers probes; everything else waits for Start.
func New(cfg Config) (*Network, error) { return nil, errTODO }

// Start begins to dial the peers and to serve them. It is idempotent.
func (n *Network) Start() {}

// Addr is the bound address of the listener.
func (n *Network) Addr() string { return "" }

// Factory is for config.NodeHostConfig.Expert.TransportFactory.
func (n *Network) Factory() config.TransportFactory { return nil }

// Deliver hands messages to the local NodeHost as if a peer had sent them. DeploymentId and BinVer are filled in.
func (n *Network) Deliver(batch pb.MessageBatch) {}

// Liveness is the datagram-like port of the liveness detector.
func (n *Network) Liveness() *Port { return nil }

// Probe asks the broker at addr who it is and whether it would accept us.
func (n *Network) Probe(ctx context.Context, addr string) (PeerHello, *Reject, error) {
	return PeerHello{}, nil, errTODO
}

// Close closes all connections and waits for all goroutines. It is idempotent.
func (n *Network) Close() error { return nil }

// Port carries small payloads between brokers on connections of their own.
type Port struct{}

// Send queues payload for a broker and reports whether it was queued: false if not connected or the queue is full.
// It never blocks.
func (p *Port) Send(to protocol.BrokerID, payload []byte) bool { return false }

// Receive sets the function that gets every payload. It must be set before Start, must not block and must not
// keep the payload.
func (p *Port) Receive(fn func(from protocol.BrokerID, payload []byte)) {}
