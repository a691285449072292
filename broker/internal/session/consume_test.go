package session

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/feed"
	"github.com/trunkline/trunkline/broker/internal/transport/transporttest"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
	"github.com/trunkline/trunkline/protocol/frame"
	"github.com/trunkline/trunkline/protocol/wire"
)

func (w *world) openConsume(c *transporttest.Client, o *wire.ConsumeOpen) (*lane, wire.ConsumeOpenOK) {
	w.t.Helper()
	l := w.lane(c)
	l.send(protocol.KindConsumeOpen, o)
	var ok wire.ConsumeOpenOK
	l.want(protocol.KindConsumeOpenOK, &ok)
	return l, ok
}

func (w *world) subscribe(c *transporttest.Client, tp protocol.TopicPartition, name string) *lane {
	w.t.Helper()
	l, _ := w.openConsume(c, &wire.ConsumeOpen{
		Topic: tp.Topic, Partition: tp.Partition, Subscription: "sub", Consumer: name, CreditBytes: 64 << 20, GraceMillis: 1000,
	})
	return l
}

// skipTo reads up to a frame of kind k and returns its body.
func (l *lane) skipTo(k protocol.Kind) []byte {
	l.t.Helper()
	for {
		got, body, err := l.r.Next()
		require.NoError(l.t, err, "before a %s frame", k)
		if got == k {
			return body
		}
	}
}

func (l *lane) wantActivate() wire.Activate {
	l.t.Helper()
	var a wire.Activate
	require.NoError(l.t, a.Decode(l.skipTo(protocol.KindActivate)))
	return a
}

// receive reads deliveries until the offset end, in order and without holes.
func (l *lane) receive(from, end protocol.Offset) {
	l.t.Helper()
	for from < end {
		h, rest, err := wire.ParseDeliverHeader(l.skipTo(protocol.KindDeliver))
		require.NoError(l.t, err)
		for len(rest) > 0 {
			var b []byte
			b, rest, err = batch.Split(rest)
			require.NoError(l.t, err)
			bh, err := batch.Check(b, protocol.MaxBatchBytesLimit)
			require.NoError(l.t, err)
			require.LessOrEqual(l.t, bh.BaseOffset, from)
			from = bh.Next()
		}
		require.Equal(l.t, from, h.Next)
	}
}

func TestConsumeAndAck(t *testing.T) {
	w := newWorld(t, nil)
	p := w.partitions[tp0]
	p.Fill(200, 10, 1000)
	c, _ := w.connect()
	l := w.subscribe(c, tp0, "a")
	a := l.wantActivate()
	require.Equal(t, wire.Activate{Activation: 1}, a)
	l.receive(0, 2000)
	l.send(protocol.KindAck, &wire.Ack{Activation: 1, Offset: 1234})
	var ok wire.AckOK
	l.want(protocol.KindAckOK, &ok)
	require.Equal(t, wire.AckOK{Activation: 1, Offset: 1234}, ok)
	p.Fill(1, 5, 10)
	l.receive(2000, 2005)
	l.send(protocol.KindAck, &wire.Ack{Activation: 1, Offset: 2005})
	l.send(protocol.KindRelease, &wire.Release{Activation: 1})
	l.half()
	l.want(protocol.KindAckOK, &ok)
	require.EqualValues(t, 2005, ok.Offset)
	var d wire.Deactivated
	l.want(protocol.KindDeactivated, &d)
	l.wantEnd()
}

func TestCreditIsKeptOnTheWire(t *testing.T) {
	w := newWorld(t, nil)
	w.partitions[tp0].Fill(100, 1, 10_000)
	c, ctl := w.connect()
	l, _ := w.openConsume(c, &wire.ConsumeOpen{Topic: 1, CreditBytes: 25_000})
	l.receive(0, 2)
	ping(t, ctl)
	require.NoError(t, l.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
	got := 2
	for {
		_, body, err := l.r.Next()
		if err != nil {
			break
		}
		h, _, err := wire.ParseDeliverHeader(body)
		require.NoError(t, err)
		got = int(h.Next)
	}
	require.LessOrEqual(t, got, 3)
}

// A consumer that gave credit and does not read is alone with its trouble.
func TestSlowConsumerDoesNotStallOthers(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Limits.WriteTimeout = time.Second })
	p := w.partitions[tp0]
	p.Fill(60, 1, 256<<10)
	c, ctl := w.connect()
	var slow []*lane
	for i := range 2 { // the test's connection window is 16 MiB, a stream's 2 MiB
		l, _ := w.openConsume(c, &wire.ConsumeOpen{Topic: 1, CreditBytes: 1 << 30, From: wire.From{Kind: wire.FromOffset, Value: uint64(i)}})
		slow = append(slow, l)
	}
	l := w.subscribe(c, tp0, "a")
	l.receive(l.wantActivate().From, 60)
	pub := w.produce(c, tp0, 7)
	for i := range 20 {
		pub.batch(7, protocol.Sequence(i), 1, 1000)
		require.Zero(t, pub.wantAck().Code)
	}
	l.receive(60, 80)
	ping(t, ctl)
	require.Eventually(t, func() bool { // given up by the broker after WriteTimeout
		return testutil.ToFloat64(w.srv.metrics.streams.WithLabelValues("consume")) == 1
	}, patience, 10*time.Millisecond)
	for _, s := range slow {
		for {
			if _, _, err := s.r.Next(); err != nil {
				code, ok := transporttest.ResetCode(err)
				require.True(t, ok, "%v", err)
				require.Equal(t, protocol.CodeTimeout, code)
				break
			}
		}
	}
	require.Equal(t, 2.0, testutil.ToFloat64(w.srv.metrics.errors.WithLabelValues(protocol.CodeTimeout.String())), "an operator can see it")
	ping(t, ctl)
}

func TestHandoverBetweenConnections(t *testing.T) {
	w := newWorld(t, nil)
	names := []string{"a", "b"}
	i := feed.Assign(1, "sub", 4, names)[0]
	owner, other := names[i], names[1-i]
	w.partitions[tp0].Fill(10, 10, 10)
	c1, _ := w.connect()
	c2, _ := w.connect()
	old := w.subscribe(c1, tp0, other)
	a := old.wantActivate()
	old.receive(0, 100)
	fresh := w.subscribe(c2, tp0, owner)
	var rv wire.Revoke
	old.want(protocol.KindRevoke, &rv)
	require.Equal(t, wire.Revoke{Activation: a.Activation, GraceMillis: 1000}, rv)
	old.send(protocol.KindAck, &wire.Ack{Activation: a.Activation, Offset: 60})
	old.send(protocol.KindRelease, &wire.Release{Activation: a.Activation})
	require.EqualValues(t, 60, fresh.wantActivate().From)
	fresh.receive(60, 100)

	resp := w.request(c1, &wire.Request{Subscriptions: &wire.SubscriptionsRequest{Topic: 1}})
	require.Equal(t, []wire.SubscriptionState{{
		Subscription: "sub", Cursor: 60, Activation: 2, Active: owner, Consumers: names,
	}}, resp.Subscriptions.Subscriptions)

	c2.Hangup() // the active one dies: the other one is active at once, without a grace
	began := time.Now()
	require.EqualValues(t, 3, old.wantActivate().Activation)
	require.Less(t, time.Since(began), 900*time.Millisecond)
	old.receive(60, 100)

	old.send(protocol.KindAck, &wire.Ack{Activation: a.Activation, Offset: 100})
	var e wire.Error
	require.NoError(t, e.Decode(old.skipTo(protocol.KindError)))
	require.Equal(t, protocol.CodeStaleActivation, e.Code)
	old.wantEnd()
	require.Eventually(t, func() bool { _, all := w.srv.feed.View(tp0, "sub"); return len(all) == 0 }, patience, time.Millisecond)
}

func TestVanishedConsumerIsReplaced(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		c.Limits.Heartbeat, c.Limits.HeartbeatLost = 100*time.Millisecond, 500*time.Millisecond
	})
	names := []string{"a", "b"}
	i := feed.Assign(1, "sub", 4, names)[0]
	c1, _ := w.connect()
	c2, ctl := w.connect()
	active := w.subscribe(c1, tp0, names[i])
	active.wantActivate()
	next := w.subscribe(c2, tp0, names[1-i])
	stop, beaten := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(beaten)
		for {
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
				ping(t, ctl)
			}
		}
	}()
	began := time.Now()
	c1.Vanish()
	next.wantActivate()
	require.Less(t, time.Since(began), 2*time.Second)
	close(stop)
	<-beaten
}

func TestLostLeadershipEndsConsumers(t *testing.T) {
	w := newWorld(t, nil)
	c, _ := w.connect()
	sub := w.subscribe(c, tp0, "a")
	sub.wantActivate()
	reader, _ := w.openConsume(c, &wire.ConsumeOpen{Topic: 1})
	w.leaders.observe(wire.Leader{Topic: 1, Leader: 2, Epoch: 4})
	w.partitions[tp0].Lose()
	require.EqualValues(t, 2, reader.wantError(protocol.CodeNotLeader).Leader)
	var e wire.Error
	require.NoError(t, e.Decode(sub.skipTo(protocol.KindError)))
	require.Equal(t, wire.Error{Code: protocol.CodeNotLeader, Message: e.Message, Leader: 2, Epoch: 4}, e)
	sub.wantEnd()
}

func TestReaderStopsAtEnd(t *testing.T) {
	w := newWorld(t, nil)
	w.partitions[tp0].Fill(100, 10, 1000)
	w.partitions[tp0].Lose()
	c, _ := w.connect()
	l, ok := w.openConsume(c, &wire.ConsumeOpen{Topic: 1, CreditBytes: 64 << 20, StopAtEnd: true, AnyReplica: true})
	l.half() // nothing more to say, but all to read
	require.EqualValues(t, 1000, ok.Next)
	l.receive(0, 1000)
	l.wantEnd()
	require.EqualValues(t, 0, testutil.ToFloat64(w.srv.metrics.errors.WithLabelValues("not_leader")))
}

func TestBadConsumeFrames(t *testing.T) {
	w := newWorld(t, nil)
	c, _ := w.connect()
	for i, b := range [][]byte{
		wire.AppendFrame(nil, protocol.KindAck, &wire.Ack{Activation: 99, Offset: 1}),
		wire.AppendFrame(nil, protocol.KindRequest, &wire.Request{}),
		frame.Append(nil, protocol.KindCredit, []byte{0xc1}),
		frame.AppendHeader(nil, protocol.KindCredit, 100_000),
		frame.AppendHeader(nil, protocol.KindDeliver, protocol.MaxDeliverBytes), // not to be waited for
		{0, 0, 0, 0, 0, 0, 0, 0},
	} {
		l := w.subscribe(c, tp0, fmt.Sprint("c", i))
		_, err := l.Write(b)
		require.NoError(t, err)
		var e wire.Error
		require.NoError(t, e.Decode(l.skipTo(protocol.KindError)))
		require.False(t, e.Code.Retryable(), "%v", e.Code)
		l.wantEnd()
	}
	require.Eventually(t, func() bool { _, all := w.srv.feed.View(tp0, "sub"); return len(all) == 0 }, patience, time.Millisecond)
}
