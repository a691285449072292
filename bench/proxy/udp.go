package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"github.com/trunkline/trunkline/protocol/udp"
)

// UDPConfig describes a UDP. Listen and Target are required.
type UDPConfig struct {
	Listen     string // IPv4 host:port of the front; port 0 takes a free one
	Target     string // IPv4 host:port
	Seed       uint64
	MaxClients int // default 256
	QueueBytes int // of delayed datagrams, default 32 MiB
}

// UDPSettings are what a UDP does now.
type UDPSettings struct{ ToTarget, ToClient Road }

// Batches of datagrams.
const (
	batchSize   = 64      // read or written with one system call
	packetBytes = 2 << 10 // longest datagram that passes whole; QUIC's have at most 1452 bytes
	socketBytes = 8 << 20 // wanted of the kernel for each socket and direction
)

// UDP is a proxy for datagrams.
type UDP struct {
	cfg       UDPConfig
	front     *net.UDPConn
	toClients *ipv4.PacketConn // writes to front
	target    *net.UDPAddr
	settings  atomic.Pointer[UDPSettings]
	queue     *delayQueue
	own       counts
	ways      [2]counts

	mu      sync.Mutex
	clients map[netip.AddrPort]*client // guarded by mu like all below
	born    uint64                     // clients so far
	host    string                     // that clients seem to come from
	closed  bool

	end context.CancelFunc
	wg  sync.WaitGroup
}

// client is one address that sent to the front.
type client struct {
	addr  *net.UDPAddr
	lanes [2]*lane
	used  atomic.Int64                    // Unix time of its last datagram, ns
	back  atomic.Pointer[ipv4.PacketConn] // towards the target
}

// NewUDP opens the front and begins.
func NewUDP(cfg UDPConfig) (*UDP, error) {
	setDefault(&cfg.MaxClients, 256)
	setDefault(&cfg.QueueBytes, 32<<20)
	target, err := net.ResolveUDPAddr("udp4", cfg.Target)
	if err != nil {
		return nil, fmt.Errorf("proxy: target %q: %w", cfg.Target, err)
	}
	listen, err := net.ResolveUDPAddr("udp4", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("proxy: front %q: %w", cfg.Listen, err)
	}
	front, err := net.ListenUDP("udp4", listen)
	if err != nil {
		return nil, fmt.Errorf("proxy: front: %w", err)
	}
	enlarge(front)
	u := &UDP{
		cfg: cfg, front: front, toClients: ipv4.NewPacketConn(front), target: target, queue: newDelayQueue(cfg.QueueBytes),
		clients: map[netip.AddrPort]*client{}, host: listen.IP.String(), own: newCounts("clients", "evicted", "rebound", "refused"),
	}
	for d := range u.ways {
		u.ways[d] = newCounts("forwarded", "lost", "blackholed", "duplicated", "reordered", "corrupted", "delayed", "overflowed", "unsent")
	}
	u.settings.Store(&UDPSettings{})
	ctx, end := context.WithCancel(context.Background())
	u.end = end
	u.wg.Go(func() { u.queue.run(ctx, u.release) })
	u.wg.Go(func() { u.receive(front, ToTarget, u.known) })
	return u, nil
}

// Addr returns the address of the front.
func (u *UDP) Addr() string { return u.front.LocalAddr().String() }

// Set replaces the settings. Datagrams that are delayed already stay so.
func (u *UDP) Set(s UDPSettings) { u.settings.Store(&s) }

// Counts returns what was done: datagrams by direction and fate, and of clients: how many came,
// were evicted, were given another source ("rebound"), and had a datagram refused by a closed port of the target.
func (u *UDP) Counts() map[string]int64 { return snapshot(u.own, u.ways) }

// Close ends the proxy; delayed datagrams are dropped.
func (u *UDP) Close() error {
	u.mu.Lock()
	u.closed = true
	for _, c := range u.clients {
		_ = c.back.Load().Close()
	}
	u.mu.Unlock()
	u.end()
	err := u.front.Close()
	u.wg.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Rebind gives every client another source port towards the target, at the address host; "" stays at the one before.
func (u *UDP) Rebind(host string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return net.ErrClosed
	}
	if host != "" {
		u.host = host
	}
	for _, c := range u.clients {
		before := c.back.Load()
		if err := u.connect(c); err != nil {
			return err
		}
		_ = before.Close()
		u.own.add("rebound", 1)
	}
	return nil
}

// connect opens a socket towards the target for a client. u.mu is held.
func (u *UDP) connect(c *client) error {
	from, err := net.ResolveUDPAddr("udp4", net.JoinHostPort(u.host, "0"))
	if err != nil {
		return fmt.Errorf("proxy: source address: %w", err)
	}
	back, err := net.DialUDP("udp4", from, u.target)
	if err != nil {
		return fmt.Errorf("proxy: towards target: %w", err)
	}
	enlarge(back)
	c.back.Store(ipv4.NewPacketConn(back))
	u.wg.Go(func() { u.receive(back, ToClient, func(net.Addr) *client { return c }) })
	return nil
}

// known returns the client of an address, nil if there can be none.
func (u *UDP) known(from net.Addr) *client {
	addr := from.(*net.UDPAddr)
	key := addr.AddrPort()
	u.mu.Lock()
	defer u.mu.Unlock()
	if c := u.clients[key]; c != nil {
		return c
	}
	if u.closed {
		return nil
	}
	if len(u.clients) >= u.cfg.MaxClients {
		u.evict()
	}
	c := &client{addr: addr}
	for d := range c.lanes {
		c.lanes[d] = newLane(u.cfg.Seed, u.born, Direction(d))
	}
	if u.connect(c) != nil {
		return nil // its datagrams are lost until a socket can be had
	}
	u.born++
	u.clients[key] = c
	u.own.add("clients", 1)
	return c
}

// evict forgets the client that is idle longest. u.mu is held.
func (u *UDP) evict() {
	var oldest netip.AddrPort
	for key, c := range u.clients {
		if o := u.clients[oldest]; o == nil || c.used.Load() < o.used.Load() {
			oldest = key
		}
	}
	_ = u.clients[oldest].back.Load().Close()
	delete(u.clients, oldest)
	u.own.add("evicted", 1)
}

// receive reads one socket until it is closed and passes on what comes. of tells whose the datagrams of an address are.
func (u *UDP) receive(socket *net.UDPConn, d Direction, of func(from net.Addr) *client) {
	in := udp.NewReceiver(socket)
	read := make([]ipv4.Message, batchSize)
	for i := range read {
		read[i].Buffers = [][]byte{make([]byte, packetBytes)}
	}
	out := make([]ipv4.Message, 0, 2*batchSize)
	for {
		n, err := in.ReadBatch(read, 0)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			u.own.add("refused", 1) // the target's port was closed when the last datagram came there
			continue
		}
		var last *client
		now, settings := time.Now(), u.settings.Load()
		for i := range read[:n] {
			c := of(read[i].Addr)
			if c == nil {
				u.ways[d].add("unsent", 1)
				continue
			}
			if c != last {
				out = u.flush(last, d, out)
				last = c
				c.used.Store(now.UnixNano())
			}
			out = u.decide(c, d, settings.road(d), now, read[i].Buffers[0][:read[i].N], out)
		}
		out = u.flush(last, d, out)
	}
}

func (s *UDPSettings) road(d Direction) *Road {
	if d == ToTarget {
		return &s.ToTarget
	}
	return &s.ToClient
}

// decide appends what goes on now to out, which uses datagram's memory, and queues what goes later.
func (u *UDP) decide(c *client, d Direction, r *Road, now time.Time, datagram []byte, out []ipv4.Message) []ipv4.Message {
	f := c.lanes[d].next(r, now)
	switch {
	case r.Blackhole:
		u.ways[d].add("blackholed", 1)
		return out
	case f.lost:
		u.ways[d].add("lost", 1)
		return out
	}
	if f.damaged {
		f.damage(datagram)
		u.ways[d].add("corrupted", 1)
	}
	copies := 1
	if f.doubled {
		copies = 2
		u.ways[d].add("duplicated", 1)
	}
	switch {
	case f.late:
		u.ways[d].add("reordered", 1)
	case f.wait:
		u.ways[d].add("delayed", 1)
	}
	for i := range copies {
		if !f.wait {
			out = append(out, u.message(c, d, datagram))
			continue
		}
		one := delayed{due: f.due, data: bytes.Clone(datagram), of: c, way: d, loose: f.late || i > 0}
		if !u.queue.put(one) {
			u.ways[d].add("overflowed", 1)
			one.done()
		}
	}
	return out
}

// release sends a datagram whose time has come.
func (u *UDP) release(one delayed) {
	out := [1]ipv4.Message{u.message(one.of, one.way, one.data)}
	u.flush(one.of, one.way, out[:])
	one.done()
}

// message wraps a datagram. A socket towards the target is connected and takes no address.
func (u *UDP) message(c *client, d Direction, datagram []byte) ipv4.Message {
	m := ipv4.Message{Buffers: [][]byte{datagram}}
	if d == ToClient {
		m.Addr = c.addr
	}
	return m
}

// flush sends datagrams of one client and returns the emptied slice. What the kernel does not take is lost.
func (u *UDP) flush(c *client, d Direction, out []ipv4.Message) []ipv4.Message {
	if len(out) == 0 {
		return out
	}
	socket := c.back.Load()
	if d == ToClient {
		socket = u.toClients
	}
	for rest := out; len(rest) > 0; {
		n, err := socket.WriteBatch(rest, 0)
		n = max(n, 0)
		u.ways[d].add("forwarded", n)
		if err != nil {
			u.ways[d].add("unsent", 1)
			n++
		}
		rest = rest[n:]
	}
	return out[:0]
}

// enlarge asks for large socket buffers: what does not fit the kernel's is lost, and not by anybody's decision.
func enlarge(c *net.UDPConn) {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		for _, opt := range [][2]int{{unix.SO_RCVBUFFORCE, unix.SO_RCVBUF}, {unix.SO_SNDBUFFORCE, unix.SO_SNDBUF}} {
			if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, opt[0], socketBytes) != nil { // only root may exceed the system's bound
				_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, opt[1], socketBytes)
			}
		}
	})
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
