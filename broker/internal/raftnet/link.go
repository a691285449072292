package raftnet

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

// Waits between dials.
const (
	redialMin = 20 * time.Millisecond
	redialMax = 500 * time.Millisecond
	// redialFatal is for a refusal that trying again does not cure, or not soon: a peer that does not know this broker yet
	// dials it as soon as it does, and its connection kicks the links here.
	redialFatal = 2 * time.Second
	// A peer that vanished during the handshake is asked again at once, up to vanishTries times: its listener is
	// about to be gone, and the refused dial is what tells its death.
	vanishWait  = time.Millisecond
	vanishTries = 20
	// kickWait bounds how often a kick makes a link dial.
	kickWait = 5 * time.Millisecond
	// shortLife is a connection that broke so soon that the redial is not at once.
	shortLife = 50 * time.Millisecond
)

// link keeps one connection to a peer open, until the peer's context ends, and sends what its queue holds.
type link struct {
	p     *peer
	kind  kind
	lane  lane
	queue *queue
	kick  chan struct{}
	up    atomic.Bool

	// Owned by run.
	fails    int
	vanished int
	said     string // last trouble that was logged
	rejected RejectCode
}

func newLink(p *peer, k kind, l lane, bytes int) *link {
	q := newQueue(bytes)
	q.closed = l == laneLiveness
	return &link{p: p, kind: k, lane: l, queue: q, kick: make(chan struct{}, 1)}
}

func (l *link) kickNow() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// run dials, serves and dials again. It is the one goroutine that knows about waiting; nothing waits for it.
func (l *link) run(ctx context.Context) {
	n := l.p.n
	defer l.queue.purge(true)
	for ctx.Err() == nil {
		began, addr := time.Now(), l.p.address()
		d, err := n.dial(ctx, addr, l.p.id, l.kind, l.lane)
		if err == nil && !l.p.meet(d.hello, true, began, true) {
			_ = d.conn.Close()
			err = errStale
		}
		if err != nil {
			l.failed(ctx, addr, err)
			continue
		}
		n.met.dials.WithLabelValues(label(l.p.id), "ok").Inc()
		l.connected()
		err = l.serve(ctx, d.conn)
		l.disconnected(d.hello.BootID, err)
		if time.Since(began) < shortLife {
			l.wait(ctx, redialMin, redialMin)
		}
	}
}

var errStale = errors.New("answer of an earlier incarnation")

func (l *link) connected() {
	l.fails, l.vanished, l.rejected = 0, 0, 0
	if l.said != "" {
		l.p.n.log.info("link is connected again", "peer", uint64(l.p.id), "lane", l.lane.String())
		l.said = ""
	}
	l.queue.open()
	l.up.Store(true)
}

func (l *link) disconnected(boot [16]byte, err error) {
	l.up.Store(false)
	if l.lane == laneLiveness {
		l.queue.purge(true) // what is said of now is worthless later
	}
	l.p.lost(boot)
	l.say("connection lost", err)
}

// failed draws the conclusions from a dial that did not succeed, and waits for the next.
func (l *link) failed(ctx context.Context, addr string, err error) {
	if ctx.Err() != nil {
		return
	}
	n := l.p.n
	var reject *Reject
	var refused refusal
	lo, hi := redialMin, min(redialMin<<min(l.fails, 10), redialMax)
	result := "error"
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		result = "refused"
		l.vanished = 0
		l.p.dialRefused(addr)
	case errors.As(err, &refused):
		result = "unwanted"
		lo, hi = redialFatal/2, redialFatal
	case errors.As(err, &reject):
		result = "rejected"
		hi = 2 * redialMin
		if reject.Code != RejectBusy {
			lo, hi = redialFatal/2, redialFatal
		}
		if !reject.Code.Retryable() {
			l.tellRejected(*reject)
		}
	case vanished(err) && l.vanished < vanishTries:
		result = "vanished"
		l.vanished++
		lo, hi = vanishWait, vanishWait
	case isTimeout(err):
		result = "timeout"
	}
	l.fails++
	n.met.dials.WithLabelValues(label(l.p.id), result).Inc()
	if l.vanished == 0 || result != "vanished" {
		l.say("dial failed", err)
	}
	// Bulk to a peer that is not there is not worth keeping; votes and answers are, for the length of one wait.
	if dropped := l.queue.purge(l.lane != laneUrgent); dropped > 0 {
		n.met.dropped.WithLabelValues(label(l.p.id), l.lane.String()).Add(float64(dropped))
	}
	l.wait(ctx, lo, hi)
}

func (l *link) tellRejected(r Reject) {
	if l.rejected == r.Code {
		return
	}
	l.rejected = r.Code
	if l.p.n.cfg.OnRejected != nil {
		l.p.n.cfg.OnRejected(l.p.id, r)
	}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// say logs a trouble once.
func (l *link) say(what string, err error) {
	text := what
	if err != nil {
		text = err.Error()
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		text = op.Op + ": " + op.Err.Error() // without the local port, which differs each time
	}
	if text == l.said {
		return
	}
	l.said = text
	l.p.n.log.warn("link: "+what, "peer", uint64(l.p.id), "addr", l.p.address(), "lane", l.lane.String(), "err", text)
}

// wait waits between lo and hi, or until kicked.
func (l *link) wait(ctx context.Context, lo, hi time.Duration) {
	d := lo
	if hi > lo {
		d += rand.N(hi - lo)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	case <-l.kick:
		t.Reset(min(d, kickWait))
		select {
		case <-ctx.Done():
		case <-t.C:
		}
	}
}

// serve writes what the queue holds until the connection ends. The reader is what notices the peer's end: it closes
// the connection and thereby wakes the writer.
func (l *link) serve(ctx context.Context, conn net.Conn) error {
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })() // also wakes a writer that is stuck
	var readErr error
	ended := make(chan struct{})
	l.p.n.wg.Go(func() {
		readErr = l.read(conn)
		_ = conn.Close()
		close(ended)
	})
	err := l.write(ctx, conn, ended)
	_ = conn.Close()
	<-ended
	if err == nil {
		err = readErr
	}
	return err
}

// write returns nil if it was the reader that ended the connection.
func (l *link) write(ctx context.Context, conn net.Conn, ended <-chan struct{}) error {
	w := bufio.NewWriterSize(conn, 64<<10)
	every := echoEvery
	if l.lane == laneLiveness {
		every = echoLiveness
	}
	echo := time.NewTicker(every)
	defer echo.Stop()
	var frames [][]byte
	sent := l.p.n.met.sent.WithLabelValues(label(l.p.id), l.lane.String())
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ended:
			return nil
		case <-echo.C:
			if err := l.writeEcho(conn, w); err != nil {
				return err
			}
		case <-l.queue.wake:
			frames = l.queue.take(frames)
			if err := l.writeFrames(conn, w, frames); err != nil {
				return err
			}
			for i, f := range frames {
				sent.Add(float64(len(f)))
				putBuffer(f)
				frames[i] = nil
			}
		}
	}
}

func (l *link) writeFrames(conn net.Conn, w *bufio.Writer, frames [][]byte) error {
	for _, f := range frames {
		// A batch may have 64 MiB: at least 1 MiB/s is expected.
		limit := writeTimeout + time.Duration(len(f)>>20)*time.Second
		if err := conn.SetWriteDeadline(time.Now().Add(limit)); err != nil {
			return err
		}
		if _, err := w.Write(f); err != nil {
			return err
		}
	}
	return w.Flush()
}

func (l *link) writeEcho(conn net.Conn, w *bufio.Writer) error {
	var b [frameHeader + 8]byte
	putHeader(b[:], frameEcho, 8)
	binary.BigEndian.PutUint64(b[frameHeader:], uint64(time.Since(l.p.n.started)))
	return l.writeFrames(conn, w, [][]byte{b[:]})
}

// read takes in echoes. It returns when the connection ends.
func (l *link) read(conn net.Conn) error {
	fr := newFrameReader(conn, 64)
	rtt := l.p.n.met.rtt.WithLabelValues(label(l.p.id), l.lane.String())
	for {
		if err := conn.SetReadDeadline(time.Now().Add(readTimeout)); err != nil {
			return err
		}
		typ, b, err := fr.next()
		if err != nil {
			return err
		}
		if typ == frameEchoReply && len(b) == 8 {
			took := time.Since(l.p.n.started) - time.Duration(binary.BigEndian.Uint64(b))
			rtt.Observe(took.Seconds())
			if l.lane == laneLiveness {
				l.p.trips.observe(took)
			}
		}
	}
}
