package fakebroker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/frame"
	"github.com/trunkline/trunkline/protocol/wire"
)

// node is one broker.
type node struct {
	c       *Cluster
	id      protocol.BrokerID
	addr    string
	stopped atomic.Bool
	resets  quic.StatelessResetKey
	blank   bool // it knows nothing of the cluster; guarded by Cluster.mu

	mu    sync.Mutex // guards the following
	sock  *net.UDPConn
	tr    *quic.Transport
	conns map[*session]struct{}
	ctx   context.Context
	end   context.CancelFunc
	wg    *sync.WaitGroup
}

// gate is a socket that loses everything while the node is stopped.
type gate struct {
	net.PacketConn
	stopped *atomic.Bool
}

func (g gate) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, addr, err := g.PacketConn.ReadFrom(b)
		if err != nil || !g.stopped.Load() {
			return n, addr, err
		}
	}
}

func (g gate) WriteTo(b []byte, addr net.Addr) (int, error) {
	if g.stopped.Load() {
		return len(b), nil
	}
	return g.PacketConn.WriteTo(b, addr)
}

// listen starts the node.
func (n *node) listen(addr string) error {
	ua, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.sock, err = net.ListenUDP("udp", ua); err != nil {
		return fmt.Errorf("fakebroker: %w", err)
	}
	if n.addr == "" { // never changes: it is read without a lock
		n.addr = n.sock.LocalAddr().String()
	}
	n.resets[0] = byte(n.id)
	n.stopped.Store(false)
	n.tr = &quic.Transport{Conn: gate{n.sock, &n.stopped}, StatelessResetKey: &n.resets, ConnContext: n.dialled}
	ln, err := n.tr.Listen(n.c.server, &quic.Config{MaxIdleTimeout: 10 * time.Second, MaxIncomingStreams: n.c.cfg.MaxStreams})
	if err != nil {
		_ = n.sock.Close()
		return fmt.Errorf("fakebroker: %w", err)
	}
	n.ctx, n.end = context.WithCancel(context.Background())
	n.conns, n.wg = make(map[*session]struct{}), &sync.WaitGroup{}
	ctx, wg := n.ctx, n.wg
	wg.Go(func() {
		for {
			qc, err := ln.Accept(ctx)
			if err != nil {
				return
			}
			wg.Go(func() { n.serve(ctx, qc) })
		}
	})
	return nil
}

func (n *node) dialled(ctx context.Context, info *quic.ClientInfo) (context.Context, error) {
	if n.c.cfg.Dialled != nil {
		n.c.cfg.Dialled(info.AddrVerified)
	}
	return ctx, nil
}

func (n *node) up() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.tr != nil && !n.stopped.Load()
}

func (n *node) kill() {
	n.mu.Lock()
	tr, sock, wg := n.tr, n.sock, n.wg
	n.tr = nil
	if tr != nil {
		n.end()
	}
	n.mu.Unlock()
	if tr == nil {
		return
	}
	n.stopped.Store(true) // not a packet more
	_ = sock.Close()
	_ = tr.Close()
	wg.Wait()
}

func (n *node) dropConns() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for s := range n.conns {
		go func() { _ = s.qc.CloseWithError(quic.ApplicationErrorCode(protocol.CodeClosing), "dropped") }()
	}
}

// push sends a control frame to all clients that subscribed. It never blocks.
func (n *node) push(frame []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for s := range n.conns {
		select {
		case s.out <- frame:
		default:
		}
	}
}

// session is one client's connection.
type session struct {
	n   *node
	qc  *quic.Conn
	out chan []byte // control frames
}

func (n *node) serve(ctx context.Context, qc *quic.Conn) {
	s := &session{n: n, qc: qc, out: make(chan []byte, 4096)}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer func() {
		n.mu.Lock()
		delete(n.conns, s)
		n.mu.Unlock()
		_ = qc.CloseWithError(quic.ApplicationErrorCode(protocol.CodeClosing), "bye")
	}()
	for {
		st, err := qc.AcceptStream(ctx)
		if err != nil {
			return
		}
		wg.Go(func() { s.stream(ctx, st) })
	}
}

// stream serves one stream by its first frame.
func (s *session) stream(ctx context.Context, st *quic.Stream) {
	defer st.CancelRead(0)
	r := frame.NewReader(st)
	kind, body, err := r.Next()
	if err != nil {
		st.CancelWrite(0) // until both sides have ended it the stream counts against MaxStreams
		return
	}
	switch kind {
	case protocol.KindHello:
		err = s.control(ctx, st, r)
	case protocol.KindRequest:
		err = s.request(st, body)
	case protocol.KindProduceOpen:
		err = s.produce(ctx, st, r, body)
	case protocol.KindConsumeOpen:
		err = s.consume(ctx, st, r, body)
	default:
		err = protocol.Errorf(protocol.CodeUnexpectedFrame, "%s opens no stream", kind)
	}
	if errors.Is(err, errBreak) {
		st.CancelWrite(0)
		return
	}
	if err != nil {
		e := wire.ErrorFrom(err)
		_, _ = st.Write(wire.AppendFrame(nil, protocol.KindError, &e))
	}
	_ = st.Close()
}

// errBreak resets a stream instead of ending it.
var errBreak = errors.New("break the stream")

// control serves the control stream.
func (s *session) control(ctx context.Context, st *quic.Stream, r *frame.Reader) error {
	ok := &wire.HelloOK{
		Version: 1, Cluster: "fake", Broker: s.n.id, MaxRecordBytes: s.n.c.cfg.MaxRecordBytes,
		MaxBatchBytes: s.n.c.cfg.MaxBatchBytes, MaxInFlightBatches: protocol.MaxInFlightBatches,
		HeartbeatMillis: uint32(s.n.c.cfg.Heartbeat.Milliseconds()),
	}
	if _, err := st.Write(wire.AppendFrame(nil, protocol.KindHelloOK, ok)); err != nil {
		return err
	}
	done := make(chan struct{})
	defer func() { <-done }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer close(done)
		for {
			select {
			case f := <-s.out:
				if _, err := st.Write(f); err != nil {
					return
				}
			case <-ctx.Done():
				return
			case <-s.qc.Context().Done():
				return
			}
		}
	}()
	for {
		kind, body, err := r.Next()
		if err != nil {
			return errBreak
		}
		switch kind {
		case protocol.KindPing:
			s.out <- frame.Append(nil, protocol.KindPong, body)
		case protocol.KindMetadataSubscribe:
			s.n.c.mu.Lock()
			image := wire.AppendFrame(nil, protocol.KindMetadata, s.n.c.image(s.n))
			s.n.mu.Lock()
			s.n.conns[s] = struct{}{}
			s.n.mu.Unlock()
			s.out <- image
			s.n.c.mu.Unlock()
			if s.n.c.cfg.Subscribed != nil {
				s.n.c.cfg.Subscribed(s.n.id)
			}
		}
	}
}
