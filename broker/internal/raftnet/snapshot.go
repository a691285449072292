package raftnet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lni/dragonboat/v4/raftio"
	pb "github.com/lni/dragonboat/v4/raftpb"
)

const (
	// snapshotPiece is what is written at once under the throttle.
	snapshotPiece = 64 << 10
	// chunkTimeout bounds the wait for a chunk's acknowledgement: the receiver writes it to its disk first, and
	// fsyncs the whole at the last one.
	chunkTimeout = 60 * time.Second
)

// snapshotConn carries one stream of chunks. One goroutine uses it.
type snapshotConn struct {
	n    *Network
	p    *peer
	d    dialled
	r    *frameReader
	ctx  context.Context // of the transport and of the peer: ends the wait for the throttle
	done func()
}

var _ raftio.ISnapshotConnection = (*snapshotConn)(nil)

func (n *Network) dialSnapshot(ctx context.Context, p *peer) (*snapshotConn, error) {
	began := time.Now()
	ctx, done := p.during(ctx)
	d, err := n.dial(ctx, p.address(), p.id, kindSnapshot, 0)
	if err == nil && !p.meet(d.hello, true, began, false) {
		_ = d.conn.Close()
		err = errStale
	}
	if err != nil {
		done()
		return nil, fmt.Errorf("raftnet: snapshot connection to broker %d: %w", p.id, err)
	}
	context.AfterFunc(ctx, func() { _ = d.conn.Close() })
	return &snapshotConn{n: n, p: p, d: d, r: newFrameReader(d.conn, 64), ctx: ctx, done: done}, nil
}

// Close ends the stream. Every chunk that SendChunk returned nil for was taken over by the receiver.
func (s *snapshotConn) Close() {
	s.done() // closes it, too
	_ = s.d.conn.Close()
}

// SendChunk sends one chunk and waits until the receiver has taken it over: chunks stay in order, and a receiver
// that refuses or dies is known at its chunk.
func (s *snapshotConn) SendChunk(chunk pb.Chunk) error {
	if err := s.sendChunk(chunk); err != nil {
		return fmt.Errorf("raftnet: snapshot chunk %d to broker %d: %w", chunk.ChunkId, s.p.id, err)
	}
	return nil
}

func (s *snapshotConn) sendChunk(chunk pb.Chunk) error {
	size := chunk.Size()
	if size > maxSnapshotFrame {
		return fmt.Errorf("%d bytes, limit %d", size, maxSnapshotFrame)
	}
	b := make([]byte, frameHeader+size)
	k, err := chunk.MarshalTo(b[frameHeader:])
	if err != nil {
		return err
	}
	putHeader(b, frameChunk, k)
	b = b[:frameHeader+k]
	sent := s.n.met.sent.WithLabelValues(label(s.p.id), "snapshot")
	for len(b) > 0 {
		piece := b[:min(len(b), snapshotPiece)]
		if err := s.n.throttle.WaitN(s.ctx, len(piece)); err != nil {
			return err
		}
		if err := s.d.conn.SetWriteDeadline(time.Now().Add(chunkTimeout)); err != nil {
			return err
		}
		if _, err := s.d.conn.Write(piece); err != nil {
			return err
		}
		sent.Add(float64(len(piece)))
		b = b[len(piece):]
	}
	return s.readAck()
}

func (s *snapshotConn) readAck() error {
	if err := s.d.conn.SetReadDeadline(time.Now().Add(chunkTimeout)); err != nil {
		return err
	}
	typ, ack, err := s.r.next()
	switch {
	case err != nil:
		return err
	case typ != frameChunkAck || len(ack) != 1:
		return fmt.Errorf("unexpected frame of type %d", typ)
	case ack[0] != 1:
		return errors.New("refused by the receiver")
	}
	return nil
}
