package raftnet

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	pb "github.com/lni/dragonboat/v4/raftpb"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/protocol"
)

// book is what is known of some brokers of the cluster.
func (c *cluster) book(ids ...protocol.BrokerID) map[protocol.BrokerID]string {
	out := map[protocol.BrokerID]string{}
	for _, id := range ids {
		out[id] = c.addrs[id]
	}
	return out
}

// series counts the metrics that name a peer.
func series(t *testing.T, reg prometheus.Registerer, peer string) int {
	t.Helper()
	families, err := reg.(*prometheus.Registry).Gather()
	require.NoError(t, err)
	n := 0
	for _, f := range families {
		for _, m := range f.Metric {
			if strings.Contains(m.String(), fmt.Sprintf(`name:"peer" value:"%s"`, peer)) ||
				strings.Contains(m.String(), fmt.Sprintf(`name:"peer"  value:"%s"`, peer)) {
				n++
			}
		}
	}
	return n
}

func TestPeersComeAndGo(t *testing.T) {
	c := newCluster(t, 3)
	cfg := c.config(1, 1)
	cfg.Peers = c.book(1, 2)
	one := c.start(cfg)
	two := c.start(c.config(2, 1))
	one.expect(t, "up 2.1")
	conn := one.conn(t, Target(3))
	require.NoError(t, conn.SendMessageBatch(batchOf(replicate(1, 10))), "to nobody that is known")
	require.Equal(t, pb.Message{Type: pb.Unreachable, ShardID: 7, From: 2, To: 1}, recv(t, one.messages).Requests[0])
	require.Positive(t, series(t, cfg.Registerer, noPeer), "and counted")

	three := c.start(c.config(3, 1))
	recv(t, two.events)
	two.expect(t, "up 3.1")
	eventually(t, func() bool { return three.peer(1).links[laneBulk].rejectedNow() })
	require.Empty(t, three.rejected, "the others will know it in a moment")
	one.quiet(t)

	require.NoError(t, one.SetPeers(c.addrs))
	one.expect(t, "up 3.1")
	c.waitLinks(one)
	c.waitLinks(three)
	require.NoError(t, conn.SendMessageBatch(batchOf(heartbeat(1))), "through a connection that is older than the peer")
	require.Equal(t, uint64(1), recv(t, three.messages).Requests[0].Commit)
	require.NoError(t, one.SetPeers(c.addrs))

	require.NoError(t, one.SetPeers(c.book(2)))
	eventually(t, func() bool { return !three.peer(1).links[laneLiveness].up.Load() })
	require.False(t, one.Liveness().Send(3, []byte("x")))
	_, err := one.Fetch(t.Context(), 3, nil)
	require.ErrorIs(t, err, ErrUnknownPeer)
	eventually(t, func() bool { return series(t, cfg.Registerer, "3") == 0 })
	require.Positive(t, series(t, cfg.Registerer, "2"))
	require.NoError(t, three.Close())
	one.quiet(t)

	delete(c.first, 3)
	again := c.config(3, 2)
	require.NoError(t, one.SetPeers(c.addrs))
	c.start(again)
	for recv(t, one.events) != "up 3.2" { // it may have been refused before
		continue
	}
}

// rejectedNow reports whether the last dial was refused by the peer.
func (l *link) rejectedNow() bool {
	return !l.up.Load() && testutil.ToFloat64(l.p.n.met.dials.WithLabelValues(label(l.p.id), "rejected")) > 0
}

func TestTrafficFlowsWhilePeersComeAndGo(t *testing.T) {
	c := newCluster(t, 4)
	bs := c.startAll()
	one, two := bs[0], bs[1]
	ctx, cancel := context.WithCancel(t.Context())
	var all, noise sync.WaitGroup
	defer noise.Wait()
	defer cancel()
	noise.Go(func() {
		for ctx.Err() == nil {
			select {
			case <-one.events: // peers are up again and again
			case <-ctx.Done():
			}
		}
	})
	for range 2 {
		all.Go(func() {
			for range 100 {
				book := c.book(2)
				for _, id := range []protocol.BrokerID{3, 4} {
					if rand.N(2) == 0 {
						book[id] = c.addrs[id]
					}
				}
				if err := one.SetPeers(book); err != nil {
					panic(err)
				}
			}
		})
	}
	for _, id := range []protocol.BrokerID{3, 4} {
		conn := one.conn(t, Target(id))
		noise.Go(func() {
			for i := uint64(0); ctx.Err() == nil; i++ {
				time.Sleep(100 * time.Microsecond)
				_ = conn.SendMessageBatch(batchOf(heartbeat(i)))
				one.Liveness().Send(id, []byte("x"))
				drain(bs[id-1].messages)
				drain(bs[id-1].payloads)
			}
		})
	}
	conn := one.conn(t, Target(2))
	for i := range uint64(1000) {
		require.NoError(t, conn.SendMessageBatch(batchOf(replicate(i, 10))))
		got := recv(t, two.messages)
		require.Equal(t, i, got.Requests[0].LogIndex, "nothing is lost between two that stay")
	}
	all.Wait()
	require.NoError(t, one.SetPeers(c.addrs))
	for _, b := range bs {
		c.waitLinks(b)
	}
}

func drain[T any](ch <-chan T) {
	for {
		select {
		case <-ch:
		default:
			return
		}
	}
}

func TestAPeerMoves(t *testing.T) {
	c := newCluster(t, 2)
	bs := c.startAll()
	one := bs[0]
	one.expect(t, "up 2.1")
	nowhere := c.book(1)
	nowhere[2] = "127.0.0.1:1"
	require.NoError(t, one.SetPeers(nowhere))
	require.NoError(t, one.conn(t, Target(2)).SendMessageBatch(batchOf(heartbeat(7))))
	require.Equal(t, uint64(7), recv(t, bs[1].messages).Requests[0].Commit, "what is connected stays")
	require.NoError(t, one.SetPeers(c.addrs))
	one.quiet(t)

	require.NoError(t, bs[1].Close())
	one.expect(t, "down 2.1")
	cfg := c.config(2, 2)
	cfg.Listen = "127.0.0.1:0"
	// It cannot dial the other: the other must find it.
	cfg.Peers = map[protocol.BrokerID]string{1: "127.0.0.1:1"}
	two := c.start(cfg)
	there := c.book(1)
	there[2] = two.Addr()
	require.NoError(t, one.SetPeers(there))
	one.expect(t, "up 2.2")
	c.waitLinks(one)
}

func TestBooksAreChecked(t *testing.T) {
	c := newCluster(t, 1)
	cfg := c.config(1, 1)
	big := map[protocol.BrokerID]string{}
	for i := range protocol.BrokerID(MaxPeers + 1) {
		big[i+1] = "127.0.0.1:1"
	}
	for what, book := range map[string]map[protocol.BrokerID]string{"limit": big, "address of broker 2": {2: "nowhere"}} {
		bad := cfg
		bad.Peers = book
		_, err := New(bad)
		require.ErrorContains(t, err, what)
	}
	one := c.start(cfg)
	require.ErrorContains(t, one.SetPeers(big), "limit")
	delete(big, 7)
	require.NoError(t, one.SetPeers(big))
	require.ErrorContains(t, one.SetPeers(map[protocol.BrokerID]string{3: "x"}), "broker 3")
	require.NotNil(t, one.peer(MaxPeers), "a book that is refused changes nothing")
	require.Nil(t, one.peer(1), "nobody is its own peer")
	require.NoError(t, one.Close())
	require.NoError(t, one.SetPeers(c.addrs))
}
