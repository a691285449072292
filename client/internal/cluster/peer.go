package cluster

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/trunkline/trunkline/client/internal/conn"
	"github.com/trunkline/trunkline/protocol"
)

// peer is a broker the client wants to be connected to. Guarded by Cluster.mu.
type peer struct {
	id      protocol.BrokerID
	addr    string // from the image
	seed    string // where a seed of the client reached it, tried in turn with addr
	conn    *conn.Conn
	changed chan struct{} // closed and replaced when conn changes or a dial fails
	lastErr error         // of the last dial, nil while connected
	cancel  context.CancelFunc
}

// Conn returns the connection to a broker if it is up, else why it is not, and a channel that is closed
// when that changes. A broker that is asked for is dialled from then on.
func (c *Cluster) Conn(id protocol.BrokerID) (*conn.Conn, <-chan struct{}, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, err := c.want(id)
	if err != nil {
		return nil, c.imageChanged, err
	}
	return p.conn, p.changed, p.lastErr
}

// WaitConn waits until the broker is connected, or the next attempt to connect to it has failed.
func (c *Cluster) WaitConn(ctx context.Context, id protocol.BrokerID) (*conn.Conn, error) {
	for first := true; ; first = false {
		cn, changed, lastErr := c.Conn(id)
		switch {
		case cn != nil:
			return cn, nil
		case lastErr != nil && !first:
			return nil, lastErr
		}
		select {
		case <-changed:
		case <-c.ctx.Done():
			return nil, context.Cause(c.ctx)
		case <-ctx.Done():
			return nil, because(ctx, lastErr)
		}
	}
}

// want returns the peer and starts its loop if it is new. Called with mu held.
func (c *Cluster) want(id protocol.BrokerID) (*peer, error) {
	if p, ok := c.peers[id]; ok {
		return p, nil
	}
	if c.image == nil {
		return nil, ErrNoBroker
	}
	info, ok := c.image.broker(id)
	if !ok {
		return nil, protocol.Errorf(protocol.CodeNotFound, "no broker %d in the cluster", id)
	}
	return c.startPeer(id, info.Listen, "", nil), nil
}

// startPeer starts the loop of a new peer. Called with mu held.
func (c *Cluster) startPeer(id protocol.BrokerID, addr, seed string, first *conn.Conn) *peer {
	ctx, cancel := context.WithCancel(c.ctx)
	p := &peer{id: id, addr: addr, seed: seed, changed: make(chan struct{}), cancel: cancel}
	c.peers[id] = p
	c.wg.Go(func() {
		defer cancel()
		c.runPeer(ctx, p, first)
	})
	return p
}

// tend drops the peers that left the image, renews addresses and sees to it that enough connections
// are warm. Called with mu held, after the image has changed.
func (c *Cluster) tend() {
	if len(c.image.Brokers) == 0 {
		return
	}
	for id, p := range c.peers {
		if info, ok := c.image.broker(id); ok {
			p.addr = info.Listen
			continue
		}
		if p.seed != "" || p.conn != nil {
			continue // it exists, whatever the image says: it may not have registered yet
		}
		p.cancel()
		delete(c.peers, id)
		c.wakePeer(p)
	}
	if c.seeding {
		return // connections to others are about to come in; again when that is over
	}
	for i := 0; i < len(c.image.Brokers) && len(c.peers) < c.cfg.Warm; i++ {
		b := &c.image.Brokers[i]
		_, _ = c.want(b.ID) // it is in the image
	}
}

// runPeer keeps the connection to one broker.
func (c *Cluster) runPeer(ctx context.Context, p *peer, cn *conn.Conn) {
	var b backoff
	for ctx.Err() == nil {
		if cn == nil {
			var err error
			if cn, err = c.dialPeer(ctx, p, b.attempts); err != nil {
				_ = wait(ctx, max(b.next(), firstDelay))
				continue
			}
		}
		b.reset()
		c.setConn(p, cn)
		cn.Start(c)
		select {
		case <-cn.Done():
		case <-ctx.Done():
		}
		cn.Close(conn.ErrReplaced)
		c.setConn(p, nil)
		c.cfg.Log.Info("connection ended", "broker", p.id, "addr", cn.Addr(), "error", cn.Err())
		if c.cfg.Hooks.Disconnected != nil {
			c.cfg.Hooks.Disconnected(p.id, cn.Addr(), cn.Err())
		}
		cn = nil
	}
	if cn != nil {
		cn.Close(conn.ErrReplaced)
	}
}

// dialPeer dials a peer once, at its own address or, every other time, where a seed found it.
func (c *Cluster) dialPeer(ctx context.Context, p *peer, attempt int) (*conn.Conn, error) {
	c.mu.Lock()
	addr := p.addr
	if p.seed != "" && (attempt%2 == 1 || addr == "") {
		addr = p.seed
	}
	c.mu.Unlock()
	cn, err := c.dial(ctx, addr, attempt)
	if err == nil && cn.Broker() != p.id {
		err = fmt.Errorf("dial %s: broker %d answers there, not %d", addr, cn.Broker(), p.id)
		cn.Close(conn.ErrReplaced)
	}
	if err != nil && ctx.Err() == nil {
		c.mu.Lock()
		p.lastErr = err
		c.wakePeer(p)
		c.mu.Unlock()
	}
	if err != nil {
		return nil, err
	}
	return cn, nil
}

// dial makes one connection and checks it.
func (c *Cluster) dial(ctx context.Context, addr string, attempt int) (*conn.Conn, error) {
	timeout := dialTimeout(attempt)
	dctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %v", timeout))
	defer cancel()
	began := time.Now()
	cn, err := conn.Dial(dctx, addr, &c.cfg.Conn)
	if err == nil {
		if err = c.welcome(cn); err != nil {
			cn.Close(err)
		}
	}
	if err != nil {
		if ctx.Err() == nil {
			c.cfg.Log.Debug("dial failed", "addr", addr, "error", err)
			if c.cfg.Hooks.DialFailed != nil {
				c.cfg.Hooks.DialFailed(addr, err)
			}
		}
		return nil, err
	}
	c.cfg.Log.Info("connected", "broker", cn.Broker(), "addr", addr)
	if c.cfg.Hooks.Connected != nil {
		c.cfg.Hooks.Connected(cn.Broker(), addr, time.Since(began))
	}
	return cn, nil
}

// setConn publishes a connection, or that there is none.
func (c *Cluster) setConn(p *peer, cn *conn.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cn != nil {
		c.live++
		p.lastErr = nil
	} else {
		c.live--
	}
	p.conn = cn
	c.wakePeer(p)
	close(c.liveChanged)
	c.liveChanged = make(chan struct{})
}

func (c *Cluster) wakePeer(p *peer) {
	close(p.changed)
	p.changed = make(chan struct{})
}

// Connected reports whether there is a connection to the broker now.
func (c *Cluster) Connected(id protocol.BrokerID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, ok := c.peers[id]
	return ok && p.conn != nil
}

// connected lists the connections that are up, in no order, and a channel for the next change.
func (c *Cluster) connected() ([]*conn.Conn, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]*conn.Conn, 0, len(c.peers))
	for _, p := range c.peers {
		if p.conn != nil {
			list = append(list, p.conn)
		}
	}
	return list, c.liveChanged
}

// runSeeds dials the seeds at the beginning, again whenever nothing has been connected for a while, and those that were not
// reached for as long as nobody knows a broker.
func (c *Cluster) runSeeds() {
	var b backoff
	for c.ctx.Err() == nil {
		c.mu.Lock()
		live, changed, known := c.live, c.liveChanged, len(c.peers)
		formed, newer := c.image.formed(), c.imageChanged
		c.mu.Unlock()
		if live > 0 && formed {
			b.reset()
			select {
			case <-changed:
			case <-c.ctx.Done():
			}
			continue
		}
		if known > 0 { // their own loops come first, and those that answer may come to know the cluster
			news := changed
			if live > 0 {
				news = newer
			}
			_ = wait(c.ctx, time.Second, news)
			list, _ := c.connected()
			if image, _ := c.Image(); len(list) > 0 && (live == 0 || image.formed()) {
				continue
			}
		}
		c.dialSeeds(b.attempts)
		_ = wait(c.ctx, max(b.next(), firstDelay), changed)
	}
}

// dialSeeds dials all seeds that are not connected, at once, and hands the connections to their peers.
func (c *Cluster) dialSeeds(attempt int) {
	c.setSeeding(true)
	defer c.setSeeding(false)
	var wg sync.WaitGroup
	for _, addr := range c.cfg.Seeds {
		if c.reached(addr) {
			continue
		}
		wg.Go(func() {
			cn, err := c.dial(c.ctx, addr, attempt)
			if err != nil {
				c.seedFailed(addr, err)
				return
			}
			c.adopt(cn)
		})
	}
	wg.Wait()
}

// reached reports whether there is a connection to the broker that was found at a seed.
func (c *Cluster) reached(seed string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.peers {
		if p.seed == seed && p.conn != nil {
			return true
		}
	}
	return false
}

func (c *Cluster) setSeeding(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seeding = on
	if !on && c.image != nil && c.ctx.Err() == nil {
		c.tend()
	}
}

// adopt gives a seed's connection to its peer, or tells the peer where it can be reached.
func (c *Cluster) adopt(cn *conn.Conn) {
	c.mu.Lock()
	delete(c.seedErrs, cn.Addr())
	p, known := c.peers[cn.Broker()]
	if known {
		p.seed = cn.Addr()
	} else {
		addr := ""
		if c.image != nil {
			if info, ok := c.image.broker(cn.Broker()); ok {
				addr = info.Listen
			}
		}
		c.startPeer(cn.Broker(), addr, cn.Addr(), cn)
	}
	c.mu.Unlock()
	if known {
		cn.Close(conn.ErrReplaced)
	}
}

// seedFailed notes why. When no seed can ever work before anything was reached, it ends the cluster.
func (c *Cluster) seedFailed(addr string, err error) {
	c.mu.Lock()
	c.seedErrs[addr] = err
	hopeless := c.image == nil && len(c.peers) == 0 && len(c.seedErrs) == len(c.cfg.Seeds)
	for _, e := range c.seedErrs {
		hopeless = hopeless && conn.Permanent(e)
	}
	c.mu.Unlock()
	if hopeless {
		c.cancel(fmt.Errorf("%w%s", ErrNoBroker, c.seedReasons()))
	}
}

// seedReasons lists why the seeds do not work.
func (c *Cluster) seedReasons() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := ""
	for _, addr := range c.cfg.Seeds {
		if err, ok := c.seedErrs[addr]; ok {
			s += "; " + err.Error()
		}
	}
	return s
}
