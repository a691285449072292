package proxy

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	chunkBytes   = 16 << 10 // read with one system call
	windowBytes  = 4 << 20  // held of one direction of a connection
	windowChunks = 256      // and so many pieces
	windowTime   = 250 * time.Millisecond
	stallLook    = time.Minute // a stall ends with the settings; this only bounds the timer
	kernelBytes  = 256 << 10   // of each socket and direction: what the kernels hold is no part of any delay
)

// link is one connection of the front and its connection to the target.
type link struct {
	t      *TCP
	who    atomic.Int64 // dialled; 0: unknown, or not yet
	client *net.TCPConn

	mu     sync.Mutex
	target *net.TCPConn  // guarded by mu; nil until dialled
	gone   chan struct{} // closed by reset
	once   sync.Once
}

// reset ends both connections by RST at once.
func (l *link) reset() {
	l.once.Do(func() {
		close(l.gone)
		l.mu.Lock()
		defer l.mu.Unlock()
		abort(l.client)
		if l.target != nil {
			abort(l.target)
		}
	})
}

// abort closes with RST instead of FIN.
func abort(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}

// serve runs one connection until its end.
func (l *link) serve() {
	defer l.reset() // of what is over already it is only a close
	found := make(chan struct{})
	go func() {
		defer close(found)
		l.who.Store(int64(l.t.cfg.Who(l.client.RemoteAddr().(*net.TCPAddr).AddrPort())))
	}()
	defer func() { <-found }()
	if len(l.t.current.Load().From) > 0 {
		<-found // else nobody is to be told apart, and finding out takes time that a redial has not
	}
	target, err := l.t.dial()
	if err != nil {
		(&pipe{link: l, way: ToClient}).hold(chunk{}) // a stall withholds this too
		return
	}
	l.mu.Lock()
	l.target = target
	l.mu.Unlock()
	select {
	case <-l.gone:
		abort(target)
		return
	default:
	}
	for _, c := range []*net.TCPConn{l.client, target} {
		_ = c.SetReadBuffer(kernelBytes)
		_ = c.SetWriteBuffer(kernelBytes)
	}
	var both sync.WaitGroup
	for d, ends := range [2][2]*net.TCPConn{ToTarget: {l.client, target}, ToClient: {target, l.client}} {
		p := &pipe{link: l, way: Direction(d), from: ends[0], to: ends[1], chunks: make(chan chunk, windowChunks), room: make(chan struct{}, 1)}
		both.Go(p.read)
		both.Go(p.write)
	}
	both.Wait()
}

// pipe is one direction of a link: one goroutine reads, one writes.
type pipe struct {
	*link
	way      Direction
	from, to *net.TCPConn
	chunks   chan chunk
	held     atomic.Int64  // bytes in chunks
	room     chan struct{} // some went
}

// chunk is a piece of the stream, or its end.
type chunk struct {
	data []byte
	due  time.Time
	end  error // io.EOF: nothing more comes; others: a reset
}

// read takes what the one end sends, as far as there is room, until its end.
func (p *pipe) read() {
	buf := make([]byte, chunkBytes)
	var last time.Time
	for {
		if !p.awaitRoom() {
			return
		}
		n, err := p.from.Read(buf)
		w := p.t.current.Load().way(int(p.who.Load()), p.way)
		due := time.Now().Add(w.Delay + time.Duration((2*rand.Float64()-1)*float64(w.Jitter)))
		if due.Before(last) {
			due = last
		}
		last = due
		p.held.Add(int64(n))
		select {
		case p.chunks <- chunk{bytes.Clone(buf[:n]), due, err}:
		case <-p.gone:
			return
		}
		if err != nil {
			return
		}
	}
}

// awaitRoom waits until less is held than the window; false if the link is gone.
func (p *pipe) awaitRoom() bool {
	for {
		window := int64(windowBytes)
		if rate := p.t.current.Load().BytesPerSecond; rate > 0 {
			window = min(window, max(chunkBytes, int64(float64(rate)*windowTime.Seconds())))
		}
		if p.held.Load() < window {
			return true
		}
		select {
		case <-p.room:
		case <-p.gone:
			return false
		}
	}
}

// write gives it to the other end when it may go.
func (p *pipe) write() {
	for {
		var c chunk
		select {
		case c = <-p.chunks:
		case <-p.gone:
			return
		}
		if !p.hold(c) {
			return
		}
		if len(c.data) > 0 {
			if _, err := p.to.Write(c.data); err != nil {
				p.refused()
				return
			}
			p.t.ways[p.way].add("bytes", len(c.data))
		}
		p.held.Add(-int64(len(c.data)))
		select {
		case p.room <- struct{}{}:
		default:
		}
		switch {
		case errors.Is(c.end, io.EOF):
			_ = p.to.CloseWrite()
			return
		case c.end != nil:
			p.t.own.add("reset", 1)
			p.reset()
			return
		}
	}
}

// hold waits until a chunk may go: it is due, nothing stalls, the rate allows it. False: the link is gone meanwhile.
func (p *pipe) hold(c chunk) bool {
	told := false
	for {
		now := p.t.current.Load()
		stall, wait := now.way(int(p.who.Load()), p.way).Stall, time.Until(c.due)
		if !stall && wait <= 0 {
			break
		}
		if !told {
			told = true
			name := "delayed"
			if stall {
				name = "stalled"
			}
			p.t.ways[p.way].add(name, 1)
		}
		if stall {
			wait = stallLook
		}
		if !p.sleep(wait, now.replaced) {
			return false
		}
	}
	wait := p.t.pace[p.way].reserve(time.Now(), len(c.data), p.t.current.Load().BytesPerSecond)
	if wait <= 0 {
		return true
	}
	p.t.ways[p.way].add("paced", 1)
	return p.sleep(wait, nil)
}

// sleep waits for d or until something is closed; false if that is the link.
func (p *pipe) sleep(d time.Duration, woken <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-p.gone:
		return false
	case <-woken:
	case <-timer.C:
	}
	return true
}

// refused ends the link because the receiving end takes nothing any more. The sender learns it on the way back, which may be stalled.
func (p *pipe) refused() {
	back := &pipe{link: p.link, way: p.way.reverse()}
	if back.hold(chunk{}) {
		p.t.own.add("reset", 1)
		p.reset()
	}
}
