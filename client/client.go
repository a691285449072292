package client

import (
	"context"
	"errors"

	"github.com/trunkline/trunkline/protocol"
)

var errTODO = errors.New("trunkline: not yet")

// Client is a connection to a cluster. All its methods may be called from any goroutine.
type Client struct{}

// Connect connects to a cluster by the addresses (host:port) of one or more of its brokers. It tries
// until ctx ends, at most 10 s if ctx has no deadline.
func Connect(ctx context.Context, addrs []string, opts ...Option) (*Client, error) {
	return nil, errTODO
}

// Close closes everything that was opened with the client, each as its own Close does, and leaves no
// goroutine. When ctx ends it goes on without waiting for the brokers.
func (c *Client) Close(ctx context.Context) error { return errTODO }

// Broker is one broker as the client knows it.
type Broker struct {
	ID        protocol.BrokerID
	Listen    string
	Admin     string
	Alive     bool // as the cluster believes
	Connected bool // this client, now
}

// Brokers lists the brokers of the cluster from the newest image the client has.
func (c *Client) Brokers() []Broker { return nil }

// Leader returns the leader of a partition as the client knows it; zero if it does not.
func (c *Client) Leader(topic string, p protocol.Partition) (protocol.BrokerID, protocol.Epoch) {
	return 0, 0
}

// Admin returns the administrative calls.
func (c *Client) Admin() *Admin { return nil }
