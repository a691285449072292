package raftnet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/trunkline/trunkline/protocol"
)

const (
	// MaxFetchBytes bounds the answer of a fetch: the largest batch and what is said about it.
	MaxFetchBytes = protocol.MaxBatchBytesLimit + 4<<10
	// maxFetchRequest bounds a request.
	maxFetchRequest = 1 << 10
	// maxFetchesPerPeer bounds the inbound fetch connections of one peer; more are refused.
	maxFetchesPerPeer = 8
	// fetchTimeout bounds one fetch: the answer is throttled together with snapshots.
	fetchTimeout = 10 * time.Second
)

// ErrUnknownPeer says that a broker is not in the book of peers.
var ErrUnknownPeer = errors.New("raftnet: not a peer")

// Fetch asks a broker's Config.OnFetch and returns what it answers, over a connection of its own. It takes at most
// fetchTimeout; an error means that there is no answer.
func (n *Network) Fetch(ctx context.Context, to protocol.BrokerID, request []byte) ([]byte, error) {
	p := n.peer(to)
	if p == nil {
		return nil, fmt.Errorf("%w: broker %d", ErrUnknownPeer, to)
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	ctx, done := p.during(ctx)
	defer done()
	answer, err := n.fetch(ctx, p, request)
	if err != nil {
		return nil, fmt.Errorf("raftnet: fetch from broker %d: %w", to, err)
	}
	return answer, nil
}

func (n *Network) fetch(ctx context.Context, p *peer, request []byte) ([]byte, error) {
	if len(request) > maxFetchRequest {
		return nil, fmt.Errorf("request of %d bytes, limit %d", len(request), maxFetchRequest)
	}
	began := time.Now()
	d, err := n.dial(ctx, p.address(), p.id, kindFetch, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = d.conn.Close() }()
	if !p.meet(d.hello, true, began, false) {
		return nil, errStale
	}
	return exchange(ctx, d.conn, frameFetch, request, frameFetched, MaxFetchBytes)
}

// exchange sends a request in a frame of type ask, and returns the one answer, of type want and at most limit bytes. The
// end of ctx closes the connection.
func exchange(ctx context.Context, conn net.Conn, ask byte, request []byte, want byte, limit int) ([]byte, error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	b := make([]byte, frameHeader, frameHeader+len(request))
	putHeader(b, ask, len(request))
	if _, err := conn.Write(append(b, request...)); err != nil {
		return nil, errors.Join(err, ctx.Err())
	}
	typ, answer, err := newFrameReader(conn, limit).next()
	if err != nil {
		return nil, errors.Join(err, ctx.Err())
	}
	if typ != want {
		return nil, fmt.Errorf("unexpected frame of type %d", typ)
	}
	return answer, nil
}

// answer serves one fetch.
func (n *Network) answer(conn *tls.Conn, p *peer, request []byte) error {
	if n.cfg.OnFetch == nil {
		return errors.New("this broker answers no fetch")
	}
	answer := n.cfg.OnFetch(p.id, request)
	if len(answer) > MaxFetchBytes {
		return fmt.Errorf("answer of %d bytes, limit %d", len(answer), MaxFetchBytes)
	}
	b := make([]byte, frameHeader, frameHeader+len(answer))
	putHeader(b, frameFetched, len(answer))
	b = append(b, answer...)
	sent := n.met.sent.WithLabelValues(label(p.id), kindFetchName)
	for len(b) > 0 {
		piece := b[:min(len(b), snapshotPiece)]
		if err := n.throttle.WaitN(n.ctx, len(piece)); err != nil {
			return err
		}
		if err := conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			return err
		}
		if _, err := conn.Write(piece); err != nil {
			return err
		}
		sent.Add(float64(len(piece)))
		b = b[len(piece):]
	}
	return nil
}
