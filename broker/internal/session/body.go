package session

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/trunkline/trunkline/protocol"
)

const (
	// eagerBatches is for how many batches of the greatest size one connection may take memory by announcing them. Beyond
	// that memory follows what arrives.
	eagerBatches = 4
	// firstBytes is what a body takes then before any of it came, bodyGrowth how many times what came it may take next.
	firstBytes = 1 << 10
	bodyGrowth = 4
)

// body reads the body of a batch, n bytes, once there is room for it; none of the stream's batches is in flight once
// drained is closed. All bytes are taken from the connection's budget before. So they are from the server's, unless the
// connection has announced much that did not come: then they are taken from that as they come, a few ahead, so that
// announcing alone does not take the room of other connections.
func (ps *produceStream) body(n int, drained <-chan struct{}) ([]byte, error) {
	if err := ps.c.inFlight.take(ps.ctx, n, drained); err != nil {
		return nil, err
	}
	size := n
	if ps.c.announce(n) {
		defer ps.c.announced.Add(int64(-n))
	} else {
		size = min(n, firstBytes)
	}
	taken, server := 0, ps.c.srv.inFlight
	err := server.take(ps.ctx, size, drained)
	if err == nil {
		taken = size
		var b []byte
		if b, err = ps.receive(n, &taken); err == nil {
			return b, nil
		}
	}
	server.give(taken)
	ps.c.inFlight.give(n)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return nil, err
}

// receive reads n bytes into memory of which taken bytes are granted, and counts there what it takes for the rest.
func (ps *produceStream) receive(n int, taken *int) ([]byte, error) {
	by := time.Now().Add(ps.c.srv.cfg.Limits.BodyTimeout)
	ps.st.readBy(by)
	defer ps.st.readBy(time.Time{})
	b := make([]byte, *taken)
	for have := 0; ; {
		m, err := io.ReadFull(ps.st, b[have:])
		have += m
		if err != nil || have == n {
			return b, err
		}
		if err := ps.more(min(n, bodyGrowth*have)-have, taken, by); err != nil {
			return nil, err
		}
		grown := make([]byte, *taken)
		copy(grown, b)
		b = grown
	}
}

// more takes n bytes of the server's budget for a body that is being read. What it holds already would be in the way of
// the others at the bound, so it goes on up to the hard limit, and waits there no longer than for the body itself.
func (ps *produceStream) more(n int, taken *int, by time.Time) error {
	ctx, cancel := context.WithDeadline(ps.ctx, by)
	defer cancel()
	err := ps.c.srv.inFlight.take(ctx, n, alwaysIdle)
	switch {
	case err == nil:
		*taken += n
		return nil
	case ps.ctx.Err() != nil:
		return err
	}
	return protocol.Errorf(protocol.CodeOverloaded, "the broker had no room for the rest of a batch for %v",
		ps.c.srv.cfg.Limits.BodyTimeout)
}

// release gives back the n bytes of a batch.
func (c *conn) release(n int) {
	c.inFlight.give(n)
	c.srv.inFlight.give(n)
}

// announce counts n bytes that are about to come. It reports false, and counts nothing, if too many are already.
func (c *conn) announce(n int) bool {
	if c.announced.Add(int64(n)) <= int64(eagerBatches*c.srv.cfg.Limits.MaxBatchBytes) {
		return true
	}
	c.announced.Add(int64(-n))
	return false
}
