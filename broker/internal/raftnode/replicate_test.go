package raftnode

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftio"
	pb "github.com/lni/dragonboat/v4/raftpb"
	"github.com/stretchr/testify/require"
)

// scale is a network that notes the bytes of entries of the heaviest message to a replica.
type scale struct {
	Network
	heaviest *atomic.Int64
}

func (s scale) Factory() config.TransportFactory { return scaleFactory{s.Network.Factory(), s} }

type scaleFactory struct {
	config.TransportFactory
	scale scale
}

func (f scaleFactory) Create(c config.NodeHostConfig, m raftio.MessageHandler, ch raftio.ChunkHandler) raftio.ITransport {
	return scaleTransport{f.TransportFactory.Create(c, m, ch), f.scale}
}

type scaleTransport struct {
	raftio.ITransport
	scale scale
}

func (t scaleTransport) GetConnection(ctx context.Context, target string) (raftio.IConnection, error) {
	c, err := t.ITransport.GetConnection(ctx, target)
	return scaleConnection{c, t.scale}, err
}

type scaleConnection struct {
	raftio.IConnection
	scale scale
}

func (c scaleConnection) SendMessageBatch(b pb.MessageBatch) error {
	for _, m := range b.Requests {
		bytes := int64(0)
		for _, e := range m.Entries {
			bytes += int64(len(e.Cmd))
		}
		for was := c.scale.heaviest.Load(); bytes > was && !c.scale.heaviest.CompareAndSwap(was, bytes); {
			was = c.scale.heaviest.Load()
		}
	}
	return c.IConnection.SendMessageBatch(b)
}

// TestAFollowerIsSentALittleAtATime, and a large command whole.
func TestAFollowerIsSentALittleAtATime(t *testing.T) {
	const each = 200 << 10
	var heaviest atomic.Int64
	c := newCluster(t)
	c.between = func(n Network) Network { return scale{n, &heaviest} }
	one, _ := c.start(1), c.start(2)
	c.start(3)
	_, epoch := c.elect(one)
	c.kill(3)
	c.publish(one, epoch, 1, 50, each)
	heaviest.Store(0)
	c.same(one, c.start(3))
	require.LessOrEqual(t, heaviest.Load(), int64(maxReplicateBytes))
	require.Greater(t, heaviest.Load(), int64(maxReplicateBytes-2*each), "nor one command at a time")

	c.publish(one, epoch, 2, 1, 2*maxReplicateBytes)
	c.same(one, c.brokers[3])
	require.Greater(t, heaviest.Load(), int64(maxReplicateBytes))
}
