package raftnet

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/protocol"
)

// lonelyPeer is a peer whose Network never starts; events collects its hooks.
func lonelyPeer(events *[]string) *peer {
	n := &Network{ctx: context.Background(), met: newMetrics(nil), log: newLogger(slog.New(slog.DiscardHandler))}
	n.cfg.OnPeerDown = func(_ protocol.BrokerID, boot [16]byte, _ string) {
		*events = append(*events, "down "+string('0'+boot[1]))
	}
	n.cfg.OnPeerUp = func(_ protocol.BrokerID, boot [16]byte) { *events = append(*events, "up "+string('0'+boot[1])) }
	return newPeer(n, 2, "127.0.0.1:1")
}

func TestPeerDownNeedsClosedConnectionsAndARefusedDial(t *testing.T) {
	var events []string
	p := lonelyPeer(&events)
	now := time.Now()
	one, two := bootID(2, 1), bootID(2, 2)
	require.True(t, p.meet(PeerHello{BootID: one}, true, now, true))
	require.True(t, p.meet(PeerHello{BootID: one}, false, now, true))
	p.dialRefused(p.addr) // the listener went first
	require.Equal(t, []string{"up 1"}, events)
	p.lost(one)
	p.lost(one)
	require.Equal(t, []string{"up 1", "down 1"}, events)
	p.dialRefused(p.addr)
	require.Len(t, events, 2, "told once")

	require.False(t, p.meet(PeerHello{BootID: one}, false, now, true), "its last words in our accept queue")
	require.True(t, p.meet(PeerHello{BootID: one}, true, now.Add(1), true), "our own dial found it alive after all")
	p.lost(one)
	require.Equal(t, []string{"up 1", "down 1", "up 1"}, events, "the refusal was before that")

	require.True(t, p.meet(PeerHello{BootID: two}, true, now.Add(2), true))
	require.Equal(t, []string{"up 1", "down 1", "up 1", "down 1", "up 2"}, events)
	require.False(t, p.meet(PeerHello{BootID: one}, true, now.Add(1), true), "a late answer to an earlier dial")
	require.False(t, p.meet(PeerHello{BootID: one}, false, now.Add(3), true), "an accepted connection is not believed while another lives")
	p.lost(one) // of the earlier incarnation: counts no more
	p.dialRefused(p.addr)
	require.Len(t, events, 5)
	p.lost(two)
	require.Equal(t, "down 2", events[5])
	require.True(t, p.meet(PeerHello{BootID: bootID(2, 3)}, false, now.Add(4), true))
	require.Equal(t, []string{"up 3"}, events[6:])
}

func TestSnapshotsProveNothingAboutDeath(t *testing.T) {
	var events []string
	p := lonelyPeer(&events)
	require.True(t, p.meet(PeerHello{BootID: bootID(2, 1)}, true, time.Now(), false))
	p.dialRefused(p.addr)
	require.Equal(t, []string{"up 1", "down 1"}, events)
}

func TestARefusalElsewhereProvesNothing(t *testing.T) {
	var events []string
	p := lonelyPeer(&events)
	now, one := time.Now(), bootID(2, 1)
	was := p.address()
	require.True(t, p.meet(PeerHello{BootID: one}, true, now, true))
	p.dialRefused(was)
	p.move("127.0.0.1:2")
	p.lost(one)
	p.dialRefused(was) // a dial that began before
	require.Equal(t, []string{"up 1"}, events)
	p.dialRefused("127.0.0.1:2")
	require.Equal(t, []string{"up 1", "down 1"}, events)
}

func TestNothingIsToldOfAPeerThatIsNone(t *testing.T) {
	var events []string
	p := lonelyPeer(&events)
	now, one := time.Now(), bootID(2, 1)
	require.True(t, p.meet(PeerHello{BootID: one}, true, now, true))
	p.remove()
	require.Error(t, p.ctx.Err())
	p.lost(one)
	p.dialRefused(p.address())
	require.False(t, p.meet(PeerHello{BootID: bootID(2, 2)}, true, now.Add(1), true))
	require.False(t, p.current(one))
	require.Equal(t, []string{"up 1"}, events)
}
