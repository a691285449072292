package raftnet

import (
	"context"
	"fmt"
	"maps"
	"net"

	"github.com/trunkline/trunkline/protocol"
)

// MaxPeers bounds the book: what SetPeers and Config.Peers may hold.
const MaxPeers = 256

// checkBook refuses a book that is too long or holds what cannot be dialled.
func checkBook(peers map[protocol.BrokerID]string) error {
	if len(peers) > MaxPeers {
		return fmt.Errorf("raftnet: %d peers, limit %d", len(peers), MaxPeers)
	}
	for id, addr := range peers {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return fmt.Errorf("raftnet: address of broker %d: %w", id, err)
		}
	}
	return nil
}

// SetPeers replaces the book of who is a peer and where, its host:port; the own entry is ignored. It may be called
// from any goroutine, at any time, as often as one likes, but not from a hook; a book that is refused changes nothing.
//
// A broker that is new gets links, from Start on. One whose address is another is dialled there from the next dial on;
// connections that stand have proved whose they are, and stay. One that is not in the book any more is forgotten: its
// connections are closed in both directions, no hook is told of it again, and its metrics end.
func (n *Network) SetPeers(peers map[protocol.BrokerID]string) error {
	if err := checkBook(peers); err != nil {
		return err
	}
	n.booking.Lock()
	defer n.booking.Unlock()
	old := *n.book.Load()
	next := make(map[protocol.BrokerID]*peer, len(peers))
	for id, addr := range peers {
		switch p := old[id]; {
		case id == n.cfg.Self:
		case p == nil:
			next[id] = newPeer(n, id, addr)
		default:
			p.move(addr)
			next[id] = p
		}
	}
	n.book.Store(&next)
	n.launch()
	gone := maps.Clone(old)
	maps.DeleteFunc(gone, func(id protocol.BrokerID, _ *peer) bool { return next[id] != nil })
	for _, p := range gone {
		n.forget(p)
	}
	return nil
}

// forget ends a peer that is not in the book any more, and its metrics once its links have counted their last.
func (n *Network) forget(p *peer) {
	p.remove()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return
	}
	n.wg.Go(func() {
		p.running.Wait()
		if n.peer(p.id) == nil {
			n.met.forget(p.id)
		}
	})
}

// peer returns a peer of the book, nil if there is none.
func (n *Network) peer(id protocol.BrokerID) *peer { return (*n.book.Load())[id] }

// launch starts the links of the peers that have none running, from Start on.
func (n *Network) launch() {
	n.mu.Lock() // against a Close that would wait while goroutines begin
	defer n.mu.Unlock()
	if n.closed || !n.running {
		return
	}
	for _, p := range *n.book.Load() {
		if p.launched {
			continue
		}
		p.launched = true
		for _, l := range p.links {
			p.running.Add(1)
			n.wg.Go(func() {
				defer p.running.Done()
				l.run(p.ctx)
			})
		}
	}
}

// move takes in where the peer is from now on.
func (p *peer) move(addr string) {
	p.mu.Lock()
	moved := p.addr != addr
	if moved {
		p.addr = addr
		p.refused = false // that was elsewhere
	}
	p.mu.Unlock()
	if moved {
		p.kick()
	}
}

// address is where the peer is dialled now.
func (p *peer) address() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.addr
}

// remove ends the peer: no hook is told of it once this has returned, and what its context holds ends soon after.
func (p *peer) remove() {
	p.mu.Lock()
	p.removed = true
	p.mu.Unlock()
	p.cancel()
}

// during returns a context that ends with ctx and with the peer.
func (p *peer) during(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(p.ctx, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}
