package raftnet

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"github.com/trunkline/trunkline/protocol"
)

// Bounds of a join, by which a broker that is no peer yet asks to become one. What is said is not raftnet's.
const (
	// MaxJoinRequest and MaxJoinAnswer bound the two messages; an answer names all brokers.
	MaxJoinRequest = 4 << 10
	MaxJoinAnswer  = 256 << 10
	// JoinTimeout bounds Config.OnJoin, which may have to propose to the metadata.
	JoinTimeout = 10 * time.Second
	// maxJoins bounds the inbound joins at work; more are refused as busy.
	maxJoins = 8
)

// Join asks whoever is at addr, a host:port, and returns what its Config.OnJoin answers, over a connection of its
// own; from is who that was. It may be called before Start and takes at most JoinTimeout and a handshake. An error means
// that there is no answer, though the request may have had its effect; it is a *Reject if from refused this broker.
func (n *Network) Join(ctx context.Context, addr string, request []byte) (answer []byte, from protocol.BrokerID, err error) {
	ctx, cancel := context.WithTimeout(ctx, JoinTimeout+handshakeTimeout)
	defer cancel()
	answer, from, err = n.join(ctx, addr, request)
	if err != nil {
		return nil, from, fmt.Errorf("raftnet: join at %s: %w", addr, err)
	}
	return answer, from, nil
}

func (n *Network) join(ctx context.Context, addr string, request []byte) ([]byte, protocol.BrokerID, error) {
	if len(request) > MaxJoinRequest {
		return nil, 0, fmt.Errorf("request of %d bytes, limit %d", len(request), MaxJoinRequest)
	}
	d, err := n.dial(ctx, addr, 0, kindJoin, 0)
	if err != nil {
		return nil, d.hello.Broker, err
	}
	defer func() { _ = d.conn.Close() }()
	answer, err := exchange(ctx, d.conn, frameJoin, request, frameJoined, MaxJoinAnswer)
	return answer, d.hello.Broker, err
}

// admitJoin serves one join, of a peer or of a stranger that passed all checks but that one.
func (n *Network) admitJoin(conn *tls.Conn, h, answer hello) {
	if n.cfg.OnJoin == nil {
		n.refuse(conn, answer, &Reject{RejectOther, "this broker lets nobody join"}, h)
		return
	}
	select {
	case n.joins <- struct{}{}:
		defer func() { <-n.joins }()
	default:
		n.refuse(conn, answer, &Reject{RejectBusy, "too many brokers join at once"}, h)
		return
	}
	if err := writeHello(conn, answer); err != nil {
		return
	}
	if err := n.serveJoin(conn, h.PeerHello); err != nil && n.ctx.Err() == nil && !vanished(err) {
		n.log.warnOnce(h.Addr, "join failed", "peer", uint64(h.Broker), "addr", h.Addr, "err", err.Error())
	}
}

func (n *Network) serveJoin(conn *tls.Conn, from PeerHello) error {
	if err := conn.SetDeadline(time.Now().Add(readTimeout)); err != nil {
		return err
	}
	typ, request, err := newFrameReader(conn, MaxJoinRequest).next()
	if err != nil {
		return err
	}
	if typ != frameJoin {
		return fmt.Errorf("unexpected frame of type %d", typ)
	}
	ctx, cancel := context.WithTimeout(n.ctx, JoinTimeout)
	defer cancel()
	answer := n.cfg.OnJoin(ctx, from, request)
	if len(answer) > MaxJoinAnswer {
		return fmt.Errorf("answer of %d bytes, limit %d", len(answer), MaxJoinAnswer)
	}
	return reply(conn, frameJoined, answer)
}
