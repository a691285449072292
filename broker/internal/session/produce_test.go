package session

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/feed/feedtest"
	"github.com/trunkline/trunkline/broker/internal/transport/transporttest"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/frame"
	"github.com/trunkline/trunkline/protocol/wire"
)

func TestProduceAcksInOrder(t *testing.T) {
	w := newWorld(t, nil)
	c, _ := w.connect()
	l := w.produce(c, tp0, 7)
	const rounds, window = 200, protocol.MaxInFlightBatches
	for sent, acked := 0, 0; acked < rounds; {
		for ; sent < rounds && sent-acked < window/2; sent++ {
			l.batch(7, protocol.Sequence(sent*3), 3, 100)
		}
		a := l.wantAck()
		require.Equal(t, wire.ProduceAck{
			BaseSequence: protocol.Sequence(acked * 3), Count: 3, BaseOffset: protocol.Offset(acked * 3), Epoch: 1,
		}, a)
		acked++
	}
	l.batch(7, 0, 3, 100)
	require.True(t, l.wantAck().Duplicate)
	l.half()
	l.wantEnd()
	require.EqualValues(t, rounds+1, testutil.ToFloat64(w.srv.metrics.inBatches))
	require.EqualValues(t, 1, testutil.ToFloat64(w.srv.metrics.duplicates))
	require.Zero(t, w.srv.inFlight.inUse())

	again := w.lane(c)
	again.send(protocol.KindProduceOpen, &wire.ProduceOpen{Topic: 1, Producer: 7})
	var ok wire.ProduceOpenOK
	again.want(protocol.KindProduceOpenOK, &ok)
	require.Equal(t, wire.ProduceOpenOK{Epoch: 1, NextSequence: rounds * 3}, ok)
}

func TestLargeBatches(t *testing.T) {
	w := newWorld(t, nil)
	c, _ := w.connect()
	l := w.produce(c, tp0, 7)
	for i := range 8 {
		l.batch(7, protocol.Sequence(i*3), 3, 1<<20)
		require.Zero(t, l.wantAck().Code)
	}
	_, err := l.Write(frame.AppendHeader(nil, protocol.KindProduce, protocol.DefaultMaxBatchBytes+1))
	require.NoError(t, err)
	l.wantError(protocol.CodeBatchTooLarge)
}

func TestAnErrorAckIsTheLast(t *testing.T) {
	w := newWorld(t, nil)
	c, _ := w.connect()
	l := w.produce(c, tp0, 7)
	l.batch(7, 0, 2, 10)
	l.batch(7, 5, 2, 10) // a gap
	l.batch(7, 2, 2, 10) // would be right, but comes after an error
	require.Zero(t, l.wantAck().Code)
	a := l.wantAck()
	require.Equal(t, protocol.CodeOutOfSequence, a.Code)
	require.EqualValues(t, 5, a.BaseSequence)
	l.wantEnd()
}

func TestLostLeadershipPointsElsewhere(t *testing.T) {
	w := newWorld(t, nil)
	c, _ := w.connect()
	l := w.produce(c, tp0, 7)
	w.partitions[tp0].Lose()
	w.leaders.observe(wire.Leader{Topic: 1, Leader: 2, Epoch: 5})
	l.batch(7, 0, 1, 10)
	a := l.wantAck()
	require.Equal(t, protocol.CodeNotLeader, a.Code)
	require.EqualValues(t, 2, a.Leader)
	require.EqualValues(t, 5, a.Epoch)
	l.wantEnd()
	again := w.lane(c)
	again.send(protocol.KindProduceOpen, &wire.ProduceOpen{Topic: 1})
	require.EqualValues(t, 2, again.wantError(protocol.CodeNotLeader).Leader)
	elsewhere := w.lane(c)
	elsewhere.send(protocol.KindProduceOpen, &wire.ProduceOpen{Topic: 1, Partition: 3})
	require.EqualValues(t, 2, elsewhere.wantError(protocol.CodeNotLeader).Leader)
}

// A batch that the partition refuses is answered after those it has taken, whenever they are.
func TestRefusedBatchWaitsForThoseBefore(t *testing.T) {
	w := newWorld(t, nil)
	c, _ := w.connect()
	p := w.partitions[tp0]
	release := p.Hold()
	l := w.produce(c, tp0, 7)
	l.batch(7, 0, 1, 10)
	l.batch(7, 1, 1, 10)
	require.Eventually(t, func() bool { return len(p.queue) == 1 }, patience, time.Millisecond)
	p.FailAppends(protocol.Errorf(protocol.CodeDiskReserve, "full"))
	l.batch(7, 2, 1, 10)
	require.Eventually(t, func() bool { return testutil.ToFloat64(w.srv.metrics.errors.WithLabelValues("disk_reserve")) == 1 },
		patience, time.Millisecond)
	release()
	require.Zero(t, l.wantAck().Code)
	require.Zero(t, l.wantAck().Code)
	require.Equal(t, protocol.CodeDiskReserve, l.wantAck().Code)
	l.wantEnd()
	require.Eventually(t, func() bool { return w.srv.inFlight.inUse() == 0 }, patience, time.Millisecond)
}

func TestBadBatchesEndTheStreamAfterTheAcksBefore(t *testing.T) {
	w := newWorld(t, nil)
	c, _ := w.connect()
	good := feedtest.MakeBatch(7, 0, 1, 10)
	damaged := feedtest.MakeBatch(7, 1, 1, 10)
	damaged[len(damaged)-1] ^= 1
	for name, bad := range map[string]struct {
		frame []byte
		code  protocol.Code
	}{
		"body CRC":       {frame.Append(nil, protocol.KindProduce, damaged), protocol.CodeCorruptBatch},
		"empty":          {frame.Append(nil, protocol.KindProduce, nil), protocol.CodeCorruptBatch},
		"wrong producer": {frame.Append(nil, protocol.KindProduce, feedtest.MakeBatch(8, 0, 1, 10)), protocol.CodeInvalidRequest},
		"wrong kind":     {wire.AppendFrame(nil, protocol.KindCredit, &wire.Credit{}), protocol.CodeUnexpectedFrame},
		"unknown kind":   {[]byte{0, 0, 0, 0, 250, 0, 0, 0}, protocol.CodeUnexpectedFrame},
		"cut off":        {frame.AppendHeader(nil, protocol.KindProduce, 100), protocol.CodeInvalidRequest},
	} {
		t.Run(name, func(t *testing.T) {
			l := w.produce(c, tp0, 7)
			l.t = t
			_, err := l.Write(append(frame.Append(nil, protocol.KindProduce, good), bad.frame...))
			require.NoError(t, err)
			l.half()
			require.Zero(t, l.wantAck().Code)
			l.wantError(bad.code)
		})
	}
	require.Eventually(t, func() bool { return w.srv.inFlight.inUse() == 0 }, patience, time.Millisecond)
}

func TestTooManyBatchesInFlight(t *testing.T) {
	w := newWorld(t, nil)
	c, _ := w.connect()
	release := w.partitions[tp0].Hold()
	l := w.produce(c, tp0, 7)
	for i := range protocol.MaxInFlightBatches + 1 {
		l.batch(7, protocol.Sequence(i), 1, 10)
	}
	require.Eventually(t, func() bool { return testutil.ToFloat64(w.srv.metrics.errors.WithLabelValues("invalid_request")) == 1 },
		patience, time.Millisecond)
	release()
	for range protocol.MaxInFlightBatches {
		require.Zero(t, l.wantAck().Code)
	}
	l.wantError(protocol.CodeInvalidRequest)
}

// A partition that does not take batches holds up its own streams and no others, on the same connection.
func TestStalledPartitionDoesNotStallOthers(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Limits.InFlightBytes = 8 << 20 })
	c, ctl := w.connect()
	release := w.partitions[tp0].Stall()
	defer release()
	var stalled []*lane
	for i := range 7 {
		l := w.produce(c, tp0, protocol.ProducerID(100+i))
		require.NoError(t, l.SetWriteDeadline(time.Now().Add(50*time.Millisecond)))
		b := frame.Append(nil, protocol.KindProduce, feedtest.MakeBatch(protocol.ProducerID(100+i), 0, 4, 900<<10))
		for range 3 {
			if _, err := l.Write(b); err != nil {
				break // pushed back
			}
		}
		stalled = append(stalled, l)
	}
	l := w.produce(c, tp1, 7)
	for i := range 50 {
		l.batch(7, protocol.Sequence(i), 1, 100<<10)
		require.Zero(t, l.wantAck().Code)
	}
	ping(t, ctl)
	require.LessOrEqual(t, w.srv.inFlight.inUse(), hardFactor*8<<20)
	for _, l := range stalled {
		l.Reset()
	}
	require.Eventually(t, func() bool { return w.srv.inFlight.inUse() == 0 }, patience, time.Millisecond)
}

// TestStalledPartitionDoesNotStallPipelines: a batch that was read while another one of its stream was in flight waits
// at the bound no longer than that one.
func TestStalledPartitionDoesNotStallPipelines(t *testing.T) {
	for _, shared := range []bool{false, true} {
		t.Run(fmt.Sprintf("by connection %v", !shared), func(t *testing.T) {
			w := newWorld(t, func(c *Config) {
				c.Limits.InFlightBytes, c.Limits.ServerInFlightBytes = 8<<20, 8<<20
				if !shared {
					c.Limits.ServerInFlightBytes = 64 << 20
				}
			})
			defer w.partitions[tp0].Stall()()
			c, _ := w.connect()
			bound := w.srv.all()[0].inFlight
			for i := range protocol.ProducerID(3) {
				w.produce(c, tp0, 100+i).batch(100+i, 0, 4, 900<<10)
			}
			if shared {
				c, _ = w.connect()
				bound = w.srv.inFlight
			}
			require.Eventually(t, func() bool { return bound.inUse() > 8<<20 }, patience, time.Millisecond)

			release := w.partitions[tp1].Hold()
			defer release()
			l := w.produce(c, tp1, 7)
			for i := range protocol.Sequence(3) {
				l.batch(7, i, 1, 10)
			}
			require.Eventually(t, func() bool { return bound.queued() == 1 }, patience, time.Millisecond)
			release()
			for range 3 {
				require.Zero(t, l.wantAck().Code)
			}
		})
	}
}

// TestAnnouncedBatchesKeepNobodyOut: batches of which only the headers come take little of what all connections share,
// and are served like others when the rest comes.
func TestAnnouncedBatchesKeepNobodyOut(t *testing.T) {
	const lanes, most = 16, 256 << 10
	w := newWorld(t, func(c *Config) {
		c.Limits.MaxBatchBytes, c.Limits.BodyTimeout = most, time.Minute
		c.Limits.InFlightBytes, c.Limits.ServerInFlightBytes = 4*most, 4*most
	})
	greedy, _ := w.connect()
	own := w.srv.all()[0].inFlight
	announced := make([]*lane, lanes)
	frames := make([][]byte, lanes)
	size := 0
	for i := range announced {
		id := protocol.ProducerID(100 + i)
		announced[i] = w.produce(greedy, tp0, id)
		frames[i] = frame.Append(nil, protocol.KindProduce, feedtest.MakeBatch(id, 0, 4, 62<<10))
		size += len(frames[i]) - frame.HeaderSize
		_, err := announced[i].Write(frames[i][:frame.HeaderSize])
		require.NoError(t, err)
	}
	shared, bound := w.srv.inFlight, eagerBatches*most+lanes*firstBytes
	require.Eventually(t, func() bool { return own.inUse() == size && shared.inUse() > bound-64<<10 }, patience, time.Millisecond)
	require.LessOrEqual(t, shared.inUse(), bound)

	c, _ := w.connect()
	l := w.produce(c, tp1, 7)
	for i := range 8 {
		l.batch(7, protocol.Sequence(i*3), 3, 64<<10)
		require.Zero(t, l.wantAck().Code)
	}
	for i, l := range announced {
		_, err := l.Write(frames[i][frame.HeaderSize:])
		require.NoError(t, err)
		require.Zero(t, l.wantAck().Code)
	}
	require.Zero(t, own.inUse())
	require.Zero(t, shared.inUse())
}

// TestBodyAtTheHardLimit: a body that is being read waits for the room of its rest no longer than for itself.
func TestBodyAtTheHardLimit(t *testing.T) {
	for name, room := range map[string]bool{"no room": false, "room in time": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const most = 64 << 10
				srv := &Server{cfg: Config{Limits: Limits{}.withDefaults()}, inFlight: &budget{limit: most}}
				c := newConn(srv, &memConn{})
				c.announced.Add(int64(eagerBatches * srv.cfg.Limits.MaxBatchBytes)) // what comes takes little at first
				sent := bytes.Repeat([]byte("0123456789abcdef"), most/16)
				ps := &produceStream{c: c, st: c.wrap(newMemStream(sent, nil, func() {})), ctx: t.Context()}
				others := hardFactor*most - 2*firstBytes
				srv.inFlight.force(others)
				began := time.Now()
				time.AfterFunc(time.Second, func() {
					if room {
						srv.inFlight.give(most)
					}
				})
				b, err := ps.body(len(sent), alwaysIdle)
				if room {
					require.NoError(t, err)
					require.Equal(t, sent, b)
					require.Equal(t, time.Second, time.Since(began))
					require.Equal(t, most, c.inFlight.inUse())
					require.Equal(t, others, srv.inFlight.inUse())
					return
				}
				require.ErrorIs(t, err, protocol.ErrOverloaded)
				require.Equal(t, srv.cfg.Limits.BodyTimeout, time.Since(began))
				require.Zero(t, c.inFlight.inUse())
				require.Equal(t, others, srv.inFlight.inUse())
			})
		})
	}
}

func TestProducerThatVanishesLeavesNothing(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Limits.HeartbeatLost = time.Second })
	c, _ := w.connect()
	release := w.partitions[tp0].Hold()
	l := w.produce(c, tp0, 7)
	for i := range 10 {
		l.batch(7, protocol.Sequence(i), 1, 10)
	}
	c.Vanish()
	require.Eventually(t, func() bool { return w.srv.Connections() == 0 }, patience, 10*time.Millisecond)
	require.EqualValues(t, 1, testutil.ToFloat64(w.srv.metrics.lost))
	release()
	require.Eventually(t, func() bool { return w.srv.inFlight.inUse() == 0 }, patience, time.Millisecond)
}

func TestPanicEndsOneConnectionOnly(t *testing.T) {
	w := newWorld(t, nil)
	bad, _ := w.connect()
	good, ctl := w.connect()
	l := w.lane(bad)
	l.send(protocol.KindProduceOpen, &wire.ProduceOpen{Topic: 1, Producer: panicProducer})
	<-bad.Context().Done()
	code, _ := transporttest.CloseCode(context.Cause(bad.Context()))
	require.Equal(t, protocol.CodeInternal, code)
	require.EqualValues(t, 1, testutil.ToFloat64(w.srv.metrics.panics))
	ping(t, ctl)
	ok := w.produce(good, tp0, 7)
	ok.batch(7, 0, 1, 1)
	require.Zero(t, ok.wantAck().Code)
}

func TestProduceOpenErrors(t *testing.T) {
	w := newWorld(t, nil)
	c, _ := w.connect()
	for _, x := range []struct {
		open wire.ProduceOpen
		code protocol.Code
	}{
		{wire.ProduceOpen{Topic: 9}, protocol.CodeUnavailable},
		{wire.ProduceOpen{Topic: 40}, protocol.CodeTopicNotFound},
		{wire.ProduceOpen{Topic: 1, Partition: 4}, protocol.CodePartitionUnknown},
	} {
		l := w.lane(c)
		l.send(protocol.KindProduceOpen, &x.open)
		l.wantError(x.code)
	}
	l := w.lane(c)
	_, err := l.Write(frame.Append(nil, protocol.KindProduceOpen, []byte{0xff, 0xff}))
	require.NoError(t, err)
	l.wantError(protocol.CodeInvalidRequest)
	_, err = l.Write([]byte("more"))
	if err == nil {
		_, err = io.ReadAll(l)
	}
	_ = err // the broker reads no more; how soon the client notices does not matter
}
