package raftnet

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/trunkline/trunkline/protocol"
)

// peer is what is known of one other broker from its connections.
type peer struct {
	n     *Network
	id    protocol.BrokerID
	links [lanes]*link
	trips roundTrips

	ctx      context.Context // ends when the peer is removed; all that is its own ends with it
	cancel   context.CancelFunc
	launched bool           // its links run; guarded by n.mu
	running  sync.WaitGroup // its links

	mu      sync.Mutex // guards the fields below; hooks are called under it, so that they come in order (Inv5)
	addr    string
	removed bool            // from the book: no hook is told of it any more
	boot    [16]byte        // the incarnation last met; zero if none
	levels  protocol.Levels // that boot said
	// met is when the dial or accept began that met boot: an answer to an earlier dial is stale.
	met     time.Time
	live    int  // open Raft and liveness connections with boot, in both directions
	refused bool // a redial was refused since the last handshake
	down    bool // boot is known to be gone, and OnPeerDown was told

	inbound   map[inboundKey]net.Conn // the newest of each; an older one is closed
	snapshots int                     // open inbound snapshot connections
	fetches   int                     // open inbound fetch connections
}

type inboundKey struct {
	kind kind
	lane lane
}

func newPeer(n *Network, id protocol.BrokerID, addr string) *peer {
	p := &peer{n: n, id: id, addr: addr, inbound: make(map[inboundKey]net.Conn)}
	p.ctx, p.cancel = context.WithCancel(n.ctx)
	p.links[laneUrgent] = newLink(p, kindRaft, laneUrgent, urgentQueueBytes)
	p.links[laneBulk] = newLink(p, kindRaft, laneBulk, n.cfg.QueueBytes)
	p.links[laneLiveness] = newLink(p, kindLiveness, laneLiveness, livenessQueueBytes)
	return p
}

// meet takes in that a handshake met an incarnation, and reports whether the connection may be used. A
// connection that counts must be given back with lost. began is when the dial or accept began.
func (p *peer) meet(h PeerHello, dialled bool, began time.Time, counts bool) bool {
	boot := h.BootID
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.removed {
		return false
	}
	if p.boot == boot && p.down && !dialled {
		return false // its last words; if it lives after all, our own dial will tell
	}
	if p.boot != boot && p.boot != ([16]byte{}) {
		// Who answers a later dial is the later incarnation. An accepted connection may have waited while its
		// dialer died: it is believed only once nothing of the known incarnation is left.
		if dialled && began.Before(p.met) || !dialled && p.live > 0 {
			return false
		}
		p.closeInboundLocked()
		if !p.down {
			p.setDownLocked("a new incarnation answered at its address")
		}
	}
	if p.boot != boot {
		p.boot, p.levels, p.met, p.live = boot, h.Levels, began, 0
		p.setUpLocked()
	} else if p.down {
		p.met = began
		p.setUpLocked()
	} else if dialled && began.After(p.met) {
		p.met = began
	}
	p.refused = false
	if counts {
		p.live++
	}
	return true
}

// lost takes in that a connection with boot that counted was closed.
func (p *peer) lost(boot [16]byte) {
	p.mu.Lock()
	if boot == p.boot {
		p.live--
		p.judgeLocked()
		if !p.down && !p.removed && p.n.cfg.OnPeerLost != nil {
			p.n.cfg.OnPeerLost(p.id, boot)
		}
	}
	p.mu.Unlock()
	p.kick()
}

// dialRefused takes in that nobody listens at addr, which says something only if it is still the peer's.
func (p *peer) dialRefused(addr string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if addr == p.addr {
		p.refused = true
		p.judgeLocked()
	}
}

// judgeLocked draws the conclusion of Inv4.
func (p *peer) judgeLocked() {
	if !p.refused || p.live > 0 || p.down || p.removed {
		return
	}
	cause := "connections closed and redial refused"
	if p.boot == ([16]byte{}) {
		cause = "dial refused"
	}
	p.setDownLocked(cause)
}

func (p *peer) setDownLocked(cause string) {
	p.down = true
	p.n.met.downs.WithLabelValues(label(p.id)).Inc()
	if p.n.cfg.OnPeerDown != nil {
		p.n.cfg.OnPeerDown(p.id, p.boot, cause)
	}
	p.n.log.warn("peer is down", "peer", uint64(p.id), "cause", cause)
}

func (p *peer) setUpLocked() {
	p.down = false
	if p.n.cfg.OnPeerUp != nil {
		p.n.cfg.OnPeerUp(p.id, p.boot)
	}
	p.n.log.info("peer is up", "peer", uint64(p.id), "addr", p.addr)
}

// current reports whether boot is the incarnation last met and not known to be gone.
func (p *peer) current(boot [16]byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.boot == boot && !p.down && !p.removed
}

// Levels returns what the incarnation of a broker that was last met said that it understands; false if it was never met or is known to
// be gone. A broker that did not say it has the zero Levels.
func (n *Network) Levels(id protocol.BrokerID) (protocol.Levels, bool) {
	p := n.peer(id)
	if p == nil {
		return protocol.Levels{}, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.levels, p.boot != [16]byte{} && !p.down && !p.removed
}

// kick makes links that wait for their next dial dial now.
func (p *peer) kick() {
	for _, l := range p.links {
		l.kickNow()
	}
}

// accept registers an inbound connection; false if the bound of snapshots or fetches is reached.
func (p *peer) accept(k kind, l lane, conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if count, limit := p.counted(k); count != nil {
		if *count >= limit {
			return false
		}
		*count++
		return true
	}
	key := inboundKey{k, l}
	if old := p.inbound[key]; old != nil {
		_ = old.Close()
	}
	p.inbound[key] = conn
	return true
}

// counted returns the number of inbound connections of a kind of which there may be several, and its bound. mu is held.
func (p *peer) counted(k kind) (count *int, limit int) {
	switch k {
	case kindSnapshot:
		return &p.snapshots, maxSnapshotsPerPeer
	case kindFetch:
		return &p.fetches, maxFetchesPerPeer
	}
	return nil, 0
}

// release ends what accept began.
func (p *peer) release(k kind, l lane, conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if count, _ := p.counted(k); count != nil {
		*count--
		return
	}
	if key := (inboundKey{k, l}); p.inbound[key] == conn {
		delete(p.inbound, key)
	}
}

func (p *peer) closeInboundLocked() {
	for _, c := range p.inbound {
		_ = c.Close()
	}
}
