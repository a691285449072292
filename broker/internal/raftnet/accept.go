package raftnet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	pb "github.com/lni/dragonboat/v4/raftpb"
)

// startWait is how long an inbound connection waits for Start before it is told to try again.
const startWait = time.Second

// acceptLoop runs from New on, so that starting brokers can probe each other.
func (n *Network) acceptLoop() {
	slots := make(chan struct{}, maxHandshakes)
	for {
		raw, err := n.listener.Accept()
		if err != nil {
			if n.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			// Out of file descriptors, most likely: others may be freed.
			n.log.warn("accept failed", "err", err.Error())
			select {
			case <-n.ctx.Done():
				return
			case <-time.After(redialMax):
			}
			continue
		}
		select {
		case slots <- struct{}{}:
		default:
			n.met.rejects.WithLabelValues("too_many_handshakes").Inc()
			_ = raw.Close()
			continue
		}
		if !n.track(raw) {
			return
		}
		n.wg.Go(func() { n.inbound(raw, slots) })
	}
}

// inbound serves one accepted connection until its end.
func (n *Network) inbound(raw net.Conn, slots chan struct{}) {
	defer n.drop(raw)
	began := time.Now()
	tlsConfig, err := n.cfg.TLS.Server()
	if err != nil {
		<-slots
		n.log.warn("no certificate for an inbound connection", "err", err.Error())
		return
	}
	conn := tls.Server(raw, tlsConfig)
	h, err := n.greet(conn)
	<-slots
	if err != nil {
		n.met.rejects.WithLabelValues("handshake").Inc()
		n.log.warnOnce(addrHost(raw), "inbound handshake failed", "from", addrHost(raw), "err", err.Error())
		return
	}
	n.admit(raw, conn, h, began)
}

// greet does the TLS handshake and reads the dialer's hello.
func (n *Network) greet(conn *tls.Conn) (hello, error) {
	if err := conn.SetDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return hello{}, err
	}
	ctx, cancel := context.WithTimeout(n.ctx, handshakeTimeout)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		return hello{}, err
	}
	return readHello(conn)
}

// admit answers the hello and serves the connection if it is accepted.
func (n *Network) admit(raw net.Conn, conn *tls.Conn, h hello, began time.Time) {
	r := n.check(h, conn)
	if r == nil && h.kind != kindProbe {
		r = n.waitStarted()
	}
	answer := hello{kind: h.kind, lane: h.lane, PeerHello: n.me()}
	if r != nil {
		n.refuse(conn, answer, r, h)
		return
	}
	switch h.kind {
	case kindProbe:
		_ = writeHello(conn, answer)
		return
	case kindJoin:
		n.admitJoin(conn, h, answer)
		return
	}
	p := n.peer(h.Broker)
	if p == nil { // since it was checked
		n.refuse(conn, answer, n.unknown(h.Broker), h)
		return
	}
	defer context.AfterFunc(p.ctx, func() { _ = raw.Close() })()
	// A snapshot's reader may be busy with its disk, so the end of its connection is no timely sign of anything; that of a
	// fetch is no sign at all.
	counts := h.kind != kindSnapshot && h.kind != kindFetch
	if !p.meet(h.PeerHello, false, began, counts) {
		p.kick()
		n.refuse(conn, answer, &Reject{RejectBusy, "an earlier incarnation is not yet gone"}, h)
		return
	}
	if counts {
		defer p.lost(h.BootID)
	}
	if !p.accept(h.kind, h.lane, raw) {
		n.refuse(conn, answer, &Reject{RejectBusy, "too many snapshot streams or fetches"}, h)
		return
	}
	defer p.release(h.kind, h.lane, raw)
	p.kick()
	if err := writeHello(conn, answer); err != nil {
		return
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return
	}
	tune(raw, h.kind)
	err := n.serve(conn, p, h)
	if n.ctx.Err() == nil && !vanished(err) && !errors.Is(err, net.ErrClosed) {
		n.log.warn("inbound connection ended", "peer", uint64(p.id), "err", err.Error())
	}
}

// check decides about a dialer.
func (n *Network) check(h hello, conn *tls.Conn) *Reject {
	switch {
	case h.version != helloVersion:
		return &Reject{RejectVersion,
			fmt.Sprintf("handshake version %d is not spoken by broker %d", h.version, n.cfg.Self)}
	case h.kind < kindRaft || h.kind > kindJoin || h.lane >= lanes:
		return &Reject{RejectVersion,
			fmt.Sprintf("connection of kind %d/%d is not known to broker %d", h.kind, h.lane, n.cfg.Self)}
	case h.ClusterID == n.cfg.ClusterID && h.meant != 0 && h.meant != n.cfg.Self:
		return &Reject{RejectWrongBroker, fmt.Sprintf("this is broker %d, not broker %d", n.cfg.Self, h.meant)}
	}
	return n.judge(h.PeerHello, h.kind, 0, conn.ConnectionState().PeerCertificates[0])
}

func (n *Network) waitStarted() *Reject {
	t := time.NewTimer(startWait)
	defer t.Stop()
	select {
	case <-n.begun:
		return nil
	case <-n.ctx.Done():
	case <-t.C:
	}
	return &Reject{RejectBusy, "this broker is starting"}
}

func (n *Network) refuse(conn *tls.Conn, answer hello, r *Reject, h hello) {
	answer.code, answer.reason = r.Code, r.Reason
	n.met.rejects.WithLabelValues(r.Code.String()).Inc()
	if r.Code != RejectBusy {
		n.log.warnOnce(h.Addr, "inbound handshake refused", "peer", uint64(h.Broker), "addr", h.Addr,
			"code", r.Code.String(), "reason", r.Reason)
	}
	_ = writeHello(conn, answer)
}

// serve reads one connection until its end, and returns what ended it.
func (n *Network) serve(conn *tls.Conn, p *peer, h hello) error {
	limit, name := maxRaftFrame, h.lane.String()
	switch h.kind {
	case kindSnapshot:
		limit, name = maxSnapshotFrame, "snapshot"
	case kindLiveness:
		limit, name = MaxLivenessBytes, laneLiveness.String()
	case kindFetch:
		limit, name = maxFetchRequest, kindFetchName
	}
	fr := newFrameReader(conn, limit)
	received := n.met.received.WithLabelValues(label(p.id), name)
	for {
		if h.kind != kindSnapshot {
			if err := conn.SetReadDeadline(time.Now().Add(readTimeout)); err != nil {
				return err
			}
		}
		typ, b, err := fr.next()
		if err != nil {
			return err
		}
		received.Add(float64(frameHeader + len(b)))
		if err := n.frame(conn, p, h, typ, b); err != nil {
			return err
		}
	}
}

func (n *Network) frame(conn *tls.Conn, p *peer, h hello, typ byte, b []byte) error {
	switch {
	case typ == frameMessages && h.kind == kindRaft:
		batch, err := parseBatch(b)
		if err != nil {
			return err
		}
		n.clean(&batch, p)
		n.messages(batch)
		return nil
	case typ == frameChunk && h.kind == kindSnapshot:
		return n.chunk(conn, b)
	case typ == frameLiveness && h.kind == kindLiveness:
		// A late word of an incarnation that is gone would look like life.
		if fn := n.port.fn; fn != nil && p.current(h.BootID) {
			fn(p.id, b)
		}
		return nil
	case typ == frameFetch && h.kind == kindFetch:
		return n.answer(conn, p, b)
	case typ == frameEcho && len(b) == 8:
		return reply(conn, frameEchoReply, b)
	}
	return fmt.Errorf("unexpected frame of type %d", typ)
}

func (n *Network) chunk(conn *tls.Conn, b []byte) error {
	chunk, err := parseChunk(b)
	if err != nil {
		return err
	}
	ok := n.chunkIn(chunk)
	answer := []byte{0}
	if ok {
		answer[0] = 1
	}
	if err := reply(conn, frameChunkAck, answer); err != nil {
		return err
	}
	if !ok {
		return errors.New("snapshot chunk was refused")
	}
	return nil
}

// reply writes a small frame back on an accepted connection; only its reader writes.
func reply(conn *tls.Conn, typ byte, payload []byte) error {
	b := make([]byte, frameHeader, frameHeader+8)
	putHeader(b, typ, len(payload))
	if err := conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	_, err := conn.Write(append(b, payload...))
	return err
}

// parseBatch turns the panics of the generated decoder on malformed input into errors.
func parseBatch(b []byte) (batch pb.MessageBatch, err error) {
	defer recovered("message batch", &err)
	err = batch.Unmarshal(b)
	return batch, err
}

func parseChunk(b []byte) (chunk pb.Chunk, err error) {
	defer recovered("snapshot chunk", &err)
	err = chunk.Unmarshal(b)
	return chunk, err
}

func recovered(what string, err *error) {
	if v := recover(); v != nil {
		*err = fmt.Errorf("malformed %s: %v", what, v)
	}
}

// wireTypes are the messages that replicas send each other. Everything else is local to a replica, and Dragonboat
// panics when it comes from outside.
var wireTypes = map[pb.MessageType]bool{
	pb.NoOP: true, pb.Ping: true, pb.Pong: true, pb.Propose: true, pb.Replicate: true, pb.ReplicateResp: true,
	pb.RequestVote: true, pb.RequestVoteResp: true, pb.Heartbeat: true, pb.HeartbeatResp: true, pb.ReadIndex: true,
	pb.ReadIndexResp: true, pb.Quiesce: true, pb.SnapshotReceived: true, pb.LeaderTransfer: true, pb.TimeoutNow: true,
	pb.RateLimit: true, pb.RequestPreVote: true, pb.RequestPreVoteResp: true,
}

// clean removes what would make Dragonboat panic (Inv3).
func (n *Network) clean(batch *pb.MessageBatch, p *peer) {
	if batch.SourceAddress != Target(p.id) {
		batch.SourceAddress = "" // Dragonboat panics if a replica's target changes
	}
	kept := batch.Requests[:0]
	for _, m := range batch.Requests {
		if m.To != 0 && wireTypes[m.Type] {
			kept = append(kept, m)
		}
	}
	if bad := len(batch.Requests) - len(kept); bad > 0 {
		n.met.rejects.WithLabelValues("message").Add(float64(bad))
	}
	batch.Requests = kept
}

func addrHost(c net.Conn) string {
	host, _, err := net.SplitHostPort(c.RemoteAddr().String())
	if err != nil {
		return c.RemoteAddr().String()
	}
	return host
}
