package session

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/feed/feedtest"
	"github.com/trunkline/trunkline/broker/internal/transport"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/frame"
	"github.com/trunkline/trunkline/protocol/wire"
)

// memStream is a stream whose client wrote everything beforehand.
type memStream struct {
	in       *bytes.Reader
	stays    <-chan struct{} // if not nil, the client does not end the stream before
	released func()
	closed   func() // the broker ended its side; may be nil
	ctx      context.Context
	cancel   context.CancelFunc

	mu  sync.Mutex
	out bytes.Buffer
	cut chan struct{} // closed when reads must fail
}

func newMemStream(b []byte, stays <-chan struct{}, released func()) *memStream {
	s := &memStream{in: bytes.NewReader(b), stays: stays, released: released, cut: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

func (s *memStream) Read(p []byte) (int, error) {
	select {
	case <-s.cut:
		return 0, context.DeadlineExceeded
	default:
	}
	n, err := s.in.Read(p)
	if err == io.EOF && s.stays != nil {
		select {
		case <-s.stays:
		case <-s.cut:
			return 0, context.DeadlineExceeded
		}
	}
	return n, err
}

func (s *memStream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.Write(p)
}

func (s *memStream) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.Equal(longAgo) {
		select {
		case <-s.cut:
		default:
			close(s.cut)
		}
	}
	return nil
}

func (s *memStream) StopReading(protocol.Code)        {}
func (s *memStream) Reset(protocol.Code)              { s.cancel() }
func (s *memStream) Release()                         { s.released() }
func (s *memStream) SetWriteDeadline(time.Time) error { return nil }
func (s *memStream) Prefer()                          {}
func (s *memStream) Context() context.Context         { return s.ctx }

func (s *memStream) Close() error {
	s.cancel()
	if s.closed != nil {
		s.closed()
	}
	return nil
}

// memConn is a connection whose client opened all its streams beforehand.
type memConn struct {
	streams chan transport.Stream
	ctx     context.Context
	end     context.CancelFunc
}

func (c *memConn) AcceptStream(ctx context.Context) (transport.Stream, error) {
	select {
	case s := <-c.streams:
		return s, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (c *memConn) Context() context.Context          { return c.ctx }
func (c *memConn) RemoteAddr() net.Addr              { return &net.UDPAddr{} }
func (c *memConn) Close(protocol.Code, string) error { c.end(); return nil }

// play serves one connection whose client sends control after its hello and each of others on a stream.
func play(srv *Server, control []byte, others ...[]byte) {
	c := &memConn{streams: make(chan transport.Stream, 1+len(others))}
	c.ctx, c.end = context.WithCancel(context.Background())
	var open sync.WaitGroup
	open.Add(len(others))
	all := make(chan struct{})
	go func() { open.Wait(); close(all) }()
	first := append(wire.AppendFrame(nil, protocol.KindHello, &hello), control...)
	ctl := newMemStream(first, all, func() {})
	ctl.closed = c.end // the client hangs up when it is told to go
	c.streams <- ctl
	for _, b := range others {
		c.streams <- newMemStream(b, nil, sync.OnceFunc(open.Done))
	}
	unlink := context.AfterFunc(c.ctx, func() { // streams that were not accepted before the end
		for {
			select {
			case s := <-c.streams:
				s.Release()
			default:
				return
			}
		}
	})
	defer unlink()
	newConn(srv, c).serve()
	c.end()
}

// hostileServer has partitions that answer and nothing that waits for long.
func hostileServer(t *testing.T) *Server {
	w := &world{
		t: t, meta: &fakeMeta{changed: make(chan struct{})},
		leaders:    &fakeLeaders{known: map[protocol.TopicPartition]wire.Leader{}, wake: make(chan struct{})},
		partitions: map[protocol.TopicPartition]*fakePartition{tp0: newFakePartition(t)},
	}
	w.meta.add(wire.TopicInfo{ID: 1, Name: "t", Partitions: make([]wire.PartitionInfo, 1)})
	w.partitions[tp0].Fill(2, 2, 10)
	cfg := Config{
		Self: 1, Meta: w.meta, Leaders: w.leaders, Partitions: w,
		Status: func() wire.ClusterStatus { return wire.ClusterStatus{} },
		Plan:   func() wire.ClusterPlan { return wire.ClusterPlan{} },
	}
	cfg.Limits.RequestTimeout = time.Second
	srv, err := NewServer(cfg)
	require.NoError(t, err)
	t.Cleanup(srv.Close)
	return srv
}

// honest is what a client that keeps the rules sends, one stream each.
func honest() [][]byte {
	produce := wire.AppendFrame(nil, protocol.KindProduceOpen, &wire.ProduceOpen{Topic: 1, Producer: 7})
	for i := range 3 {
		produce = frame.Append(produce, protocol.KindProduce, feedtest.MakeBatch(7, protocol.Sequence(i), 1, 20))
	}
	consume := wire.AppendFrame(nil, protocol.KindConsumeOpen, &wire.ConsumeOpen{
		Topic: 1, Subscription: "s", Consumer: "c", CreditBytes: 1000, GraceMillis: 10,
	})
	consume = wire.AppendFrame(consume, protocol.KindCredit, &wire.Credit{Bytes: 1})
	consume = wire.AppendFrame(consume, protocol.KindAck, &wire.Ack{Activation: 1, Offset: 1})
	consume = wire.AppendFrame(consume, protocol.KindRelease, &wire.Release{Activation: 1})
	read := wire.AppendFrame(nil, protocol.KindConsumeOpen, &wire.ConsumeOpen{Topic: 1, StopAtEnd: true, CreditBytes: 1000})
	two := uint32(2)
	out := [][]byte{produce, consume, read}
	for _, r := range []wire.Request{
		{InitProducer: &wire.InitProducer{Name: "p"}}, {CreateTopic: &wire.CreateTopic{Name: "t", Partitions: 1}},
		{DeleteTopic: &wire.DeleteTopic{Name: "t"}}, {AlterTopic: &wire.AlterTopic{Name: "t", Partitions: &two}},
		{Metadata: &wire.MetadataRequest{}}, {PartitionState: &wire.PartitionStateRequest{Topic: 1}},
		{ClusterStatus: &wire.ClusterStatusRequest{}}, {Subscriptions: &wire.SubscriptionsRequest{Topic: 1}},
		{SetBrokerState: &wire.SetBrokerState{Broker: 2, State: protocol.BrokerActive}}, {ListMoves: &wire.ListMoves{}},
		{ClusterPlan: &wire.ClusterPlanRequest{}},
	} {
		out = append(out, wire.AppendFrame(nil, protocol.KindRequest, &r))
	}
	return out
}

func honestControl() []byte {
	b := wire.AppendFrame(nil, protocol.KindPing, &wire.Ping{Payload: make([]byte, 32)})
	return wire.AppendFrame(b, protocol.KindMetadataSubscribe, &wire.MetadataSubscribe{})
}

// mutate damages b in one of the ways that matter: bits, lengths, kinds, cuts, repeats.
func mutate(rnd *rand.Rand, b []byte) []byte {
	b = bytes.Clone(b)
	for range 1 + rnd.IntN(4) {
		if len(b) == 0 {
			return b
		}
		at := rnd.IntN(len(b))
		switch rnd.IntN(6) {
		case 0:
			b[at] ^= 1 << rnd.IntN(8)
		case 1:
			b[at] = byte(rnd.UintN(256))
		case 2:
			b = b[:at]
		case 3:
			b = append(b, b[at:]...)
		case 4:
			b[min(at, 4)] = byte(rnd.UintN(130)) // a length or the kind of the first frame
		case 5:
			junk := make([]byte, rnd.IntN(16))
			for i := range junk {
				junk[i] = byte(rnd.UintN(256))
			}
			b = append(b[:at], append(junk, b[at:]...)...)
		}
	}
	return b
}

func TestHostileFrames(t *testing.T) {
	srv := hostileServer(t)
	rounds := 40_000
	if testing.Short() {
		rounds = 2000
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	good := honest()
	for range rounds {
		var streams [][]byte
		for range 1 + rnd.IntN(3) {
			streams = append(streams, mutate(rnd, good[rnd.IntN(len(good))]))
		}
		control := honestControl()
		if rnd.IntN(4) == 0 {
			control = mutate(rnd, control)
		}
		play(srv, control, streams...)
	}
	require.Zero(t, testutil.ToFloat64(srv.metrics.panics))
	require.Eventually(t, func() bool { return srv.inFlight.inUse() == 0 }, patience, time.Millisecond)
	require.Zero(t, srv.Connections())
	play(srv, honestControl(), good...)
	require.NotZero(t, testutil.ToFloat64(srv.metrics.inBatches), "still serving")
}

func FuzzStream(f *testing.F) {
	for _, b := range honest() {
		f.Add(honestControl(), b)
	}
	f.Fuzz(func(t *testing.T, control, stream []byte) {
		srv := hostileServer(t)
		play(srv, control, stream)
		if n := testutil.ToFloat64(srv.metrics.panics); n != 0 {
			t.Fatalf("%v panics", n)
		}
		require.Eventually(t, func() bool { return srv.inFlight.inUse() == 0 }, patience, time.Millisecond)
	})
}
