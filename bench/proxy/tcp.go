package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// TCPConfig describes a TCP. Listen and Target are required.
type TCPConfig struct {
	Listen         string // IPv4 host:port of the front; port 0 takes a free one
	Target         string // IPv4 host:port
	MaxConnections int    // default 1024
	// Who says who dialled, by the address it dialled from; 0: unknown. It is called once for each connection, by a
	// goroutine of its own; bytes wait for it only while TCPSettings.From tells diallers apart. May be nil.
	Who func(from netip.AddrPort) int
}

// Way is what happens to the bytes of one direction of a connection.
type Way struct {
	Delay  time.Duration
	Jitter time.Duration // the delay is drawn evenly from Delay-Jitter to Delay+Jitter; the order stays
	Stall  bool          // nothing passes, the connection stays
}

// Ways are both directions.
type Ways struct{ ToTarget, ToClient Way }

// TCPSettings are what a TCP does now.
type TCPSettings struct {
	Ways
	From           map[int]Ways // instead of Ways, for connections of those whom TCPConfig.Who names so; not to be changed any more
	BytesPerSecond int          // of all connections together, in each direction; 0: no limit
	Refuse         bool         // nobody listens at the front
}

const (
	dialLimit = time.Second
	lookAgain = 10 * time.Millisecond // between looks at a target that refuses
)

// TCP is a proxy for connections.
type TCP struct {
	cfg     TCPConfig
	addr    string
	current atomic.Pointer[current]
	pace    [2]pacer
	own     counts
	ways    [2]counts

	ctx context.Context
	end context.CancelFunc
	wg  sync.WaitGroup

	mu       sync.Mutex
	listener net.Listener   // guarded by mu like all below; nil while nobody listens
	links    map[*link]bool // connections of the front
	absent   bool           // the target refuses connections
}

// current is settings and when they are replaced.
type current struct {
	TCPSettings
	replaced chan struct{} // closed then
}

func (c *current) way(who int, d Direction) Way {
	w := c.Ways
	if other, ok := c.From[who]; ok && who != 0 {
		w = other
	}
	if d == ToTarget {
		return w.ToTarget
	}
	return w.ToClient
}

// NewTCP opens the front and begins.
func NewTCP(cfg TCPConfig) (*TCP, error) {
	setDefault(&cfg.MaxConnections, 1024)
	if cfg.Who == nil {
		cfg.Who = func(netip.AddrPort) int { return 0 }
	}
	t := &TCP{
		cfg: cfg, addr: cfg.Listen, links: map[*link]bool{},
		own: newCounts("connections", "cut", "reset", "refused", "surplus", "closed_fronts"),
	}
	for d := range t.ways {
		t.ways[d] = newCounts("bytes", "delayed", "stalled", "paced")
	}
	t.current.Store(&current{replaced: make(chan struct{})})
	t.ctx, t.end = context.WithCancel(context.Background())
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.adjust(); err != nil {
		t.end()
		return nil, err
	}
	t.addr = t.listener.Addr().String()
	return t, nil
}

// Addr returns the address of the front.
func (t *TCP) Addr() string { return t.addr }

// Set replaces the settings. Bytes that wait already wait as long as they were to. An error means that the front could not be opened again.
func (t *TCP) Set(s TCPSettings) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	close(t.current.Swap(&current{TCPSettings: s, replaced: make(chan struct{})}).replaced)
	return t.adjust()
}

// Cut ends every connection, or those of some diallers, by RST at both ends. New ones may be made at once.
func (t *TCP) Cut(who ...int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for l := range t.links {
		for _, w := range who {
			if l.who.Load() == int64(w) {
				t.cut(l)
			}
		}
		if len(who) == 0 {
			t.cut(l)
		}
	}
}

func (t *TCP) cut(l *link) {
	t.own.add("cut", 1)
	l.reset()
}

// Counts returns what was done: by direction the bytes and how many pieces of them were delayed, stalled and paced, and of
// connections: how many came, were cut, ended by a reset of an end, were refused by the target, were too many, and
// how often the front was closed.
func (t *TCP) Counts() map[string]int64 { return snapshot(t.own, t.ways) }

// Close ends the proxy and resets its connections.
func (t *TCP) Close() error {
	t.mu.Lock()
	t.end()
	err := t.adjust()
	for l := range t.links {
		l.reset()
	}
	t.mu.Unlock()
	t.wg.Wait()
	return err
}

// adjust opens or closes the front as it should be now. t.mu is held.
func (t *TCP) adjust() error {
	open := !t.current.Load().Refuse && !t.absent && t.ctx.Err() == nil
	switch {
	case open && t.listener == nil:
		l, err := (&net.ListenConfig{}).Listen(t.ctx, "tcp4", t.addr)
		if err != nil {
			return fmt.Errorf("proxy: front: %w", err)
		}
		t.listener = l
		t.wg.Go(func() { t.accept(l) })
	case !open && t.listener != nil:
		err := t.listener.Close()
		t.listener = nil
		t.own.add("closed_fronts", 1)
		return err
	}
	return nil
}

// accept takes connections until the listener is closed.
func (t *TCP) accept(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of descriptors: others may be freed
			select {
			case <-t.ctx.Done():
			case <-time.After(lookAgain):
			}
			continue
		}
		l := &link{t: t, client: conn.(*net.TCPConn), gone: make(chan struct{})}
		if !t.admit(l) {
			l.reset()
			continue
		}
		t.wg.Go(func() {
			l.serve()
			t.mu.Lock()
			delete(t.links, l)
			t.mu.Unlock()
		})
	}
}

// admit notes a connection; false if it may not be.
func (t *TCP) admit(l *link) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ctx.Err() != nil {
		return false
	}
	if len(t.links) >= t.cfg.MaxConnections {
		t.own.add("surplus", 1)
		return false
	}
	t.links[l] = true
	t.own.add("connections", 1)
	return true
}

// dial connects to the target. If nobody listens there, nobody shall at the front.
func (t *TCP) dial() (*net.TCPConn, error) {
	conn, err := (&net.Dialer{Timeout: dialLimit, KeepAlive: -1}).DialContext(t.ctx, "tcp4", t.cfg.Target)
	if err == nil {
		return conn.(*net.TCPConn), nil
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		t.own.add("refused", 1)
		t.mu.Lock()
		defer t.mu.Unlock()
		if !t.absent && t.ctx.Err() == nil {
			t.absent = true
			t.wg.Go(t.awaitTarget)
			err = errors.Join(err, t.adjust())
		}
	}
	return nil, err
}

// awaitTarget opens the front again when the target listens again.
func (t *TCP) awaitTarget() {
	look := time.NewTicker(lookAgain)
	defer look.Stop()
	for {
		select {
		case <-t.ctx.Done():
			return
		case <-look.C:
		}
		conn, err := (&net.Dialer{Timeout: dialLimit}).DialContext(t.ctx, "tcp4", t.cfg.Target)
		if err != nil {
			continue
		}
		_ = conn.Close()
		t.mu.Lock()
		t.absent = false
		err = t.adjust()
		t.absent = err != nil
		t.mu.Unlock()
		if err == nil {
			return
		}
	}
}
