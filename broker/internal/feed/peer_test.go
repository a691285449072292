package feed_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/trunkline/trunkline/broker/internal/feed"
	"github.com/trunkline/trunkline/broker/internal/feed/feedtest"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
	"github.com/trunkline/trunkline/protocol/frame"
	"github.com/trunkline/trunkline/protocol/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var tp = protocol.TopicPartition{Topic: 1, Partition: 0}

func openSub(consumer string) *wire.ConsumeOpen {
	return &wire.ConsumeOpen{
		Topic: tp.Topic, Partition: tp.Partition, Subscription: "sub", Consumer: consumer,
		CreditBytes: 1 << 20, GraceMillis: 1000,
	}
}

func openReader() *wire.ConsumeOpen {
	return &wire.ConsumeOpen{Topic: tp.Topic, Partition: tp.Partition, CreditBytes: 1 << 20}
}

// peer is a consumer and what it was told, as a goroutine of a session would have written it.
type peer struct {
	t      *testing.T
	c      *feed.Consumer
	ok     wire.ConsumeOpenOK
	cancel context.CancelFunc
	done   chan struct{}

	mu         sync.Mutex
	log        []string // kinds of the frames, in order
	activation protocol.Activation
	active     bool
	from       protocol.Offset // of the activation
	next       protocol.Offset // after the last record delivered
	gap        wire.Gap
	ackOK      wire.AckOK
	bytes      int
	err        error
}

func join(t *testing.T, m *feed.Manager, p feed.Partition, o *wire.ConsumeOpen) *peer {
	t.Helper()
	c, ok, err := m.Open(t.Context(), p, o)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	pe := &peer{t: t, c: c, ok: ok, cancel: cancel, done: make(chan struct{}), next: ok.From, from: ok.From}
	go pe.run(ctx)
	t.Cleanup(pe.hangUp)
	return pe
}

// hangUp is the end of the stream.
func (p *peer) hangUp() {
	p.cancel()
	<-p.done
	p.c.Close()
}

func (p *peer) run(ctx context.Context) {
	defer close(p.done)
	var buf []byte
	for {
		err := p.c.Wait(ctx)
		if err == nil {
			buf, err = p.c.Fill(buf[:0])
		}
		p.take(buf, err)
		buf = buf[:0]
		if err != nil {
			return
		}
	}
}

func (p *peer) take(b []byte, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
	r := frame.NewReader(bytes.NewReader(b))
	for {
		k, body, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		require.NoError(p.t, err)
		p.log = append(p.log, k.String())
		p.frame(k, body)
	}
}

func (p *peer) frame(k protocol.Kind, body []byte) {
	switch k {
	case protocol.KindActivate:
		var m wire.Activate
		require.NoError(p.t, m.Decode(body))
		require.False(p.t, p.active, "activated twice")
		require.Greater(p.t, m.Activation, p.activation)
		p.active, p.activation, p.from, p.next = true, m.Activation, m.From, m.From
	case protocol.KindDeactivated:
		var m wire.Deactivated
		require.NoError(p.t, m.Decode(body))
		require.Equal(p.t, p.activation, m.Activation)
		p.active = false
	case protocol.KindDeliver:
		p.deliver(body)
	case protocol.KindAckOK:
		require.NoError(p.t, p.ackOK.Decode(body))
	case protocol.KindGap:
		require.NoError(p.t, p.gap.Decode(body))
		require.Equal(p.t, p.next, p.gap.From)
		p.next = p.gap.To
	case protocol.KindRevoke:
	default:
		require.Fail(p.t, "unexpected frame", "%s", k)
	}
}

func (p *peer) deliver(body []byte) {
	h, rest, err := wire.ParseDeliverHeader(body)
	require.NoError(p.t, err)
	require.Equal(p.t, p.activation, h.Activation)
	p.bytes += len(rest)
	for len(rest) > 0 {
		var b []byte
		b, rest, err = batch.Split(rest)
		require.NoError(p.t, err)
		bh, err := batch.Check(b, protocol.MaxBatchBytesLimit)
		require.NoError(p.t, err)
		require.LessOrEqual(p.t, bh.BaseOffset, p.next, "a hole")
		require.Greater(p.t, bh.Next(), p.next, "again")
		p.next = bh.Next()
	}
	require.Equal(p.t, p.next, h.Next)
}

// look returns a copy of what the peer knows, once everything has settled.
func (p *peer) look() *peer {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return &peer{
		log: append([]string(nil), p.log...), activation: p.activation, active: p.active, from: p.from, next: p.next,
		gap: p.gap, ackOK: p.ackOK, bytes: p.bytes, err: p.err,
	}
}

func (p *peer) ack(to protocol.Offset) error {
	return p.c.Ack(wire.Ack{Activation: p.look().activation, Offset: to})
}

// commit acknowledges and waits for the commit.
func (p *peer) commit(to protocol.Offset) error {
	return p.c.Ack(wire.Ack{Activation: p.look().activation, Offset: to, Commit: true})
}

// bubble runs f where time is virtual, with a manager and a partition of its own.
func bubble(t *testing.T, partitions int, f func(t *testing.T, m *feed.Manager, p *feedtest.Partition)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := feed.New(feed.Config{Partitions: func(protocol.TopicID) int { return partitions }})
		t.Cleanup(m.Close)
		f(t, m, feedtest.New())
	})
}

// ownerOf returns which of two consumers should have the partition, and the other one.
func ownerOf(partitions int, names ...string) (owner, other string) {
	i := feed.Assign(tp.Topic, "sub", partitions, names)[tp.Partition]
	return names[i], names[1-i]
}
