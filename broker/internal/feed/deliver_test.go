package feed_test

import (
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/feed"
	"github.com/trunkline/trunkline/broker/internal/feed/feedtest"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/wire"
)

func TestDeliveryKeepsWithinCredit(t *testing.T) {
	bubble(t, 1, func(t *testing.T, m *feed.Manager, p *feedtest.Partition) {
		p.Fill(100, 1, 1000)
		o := openReader()
		o.CreditBytes = 2500
		r := join(t, m, p, o)
		got := r.look()
		require.GreaterOrEqual(t, got.bytes, 2000)
		require.Less(t, got.bytes, 2500+1200, "at most one batch over")
		time.Sleep(time.Minute)
		require.Equal(t, got.bytes, r.look().bytes, "no credit, no records")
		for range 100 {
			r.c.Credit(1200)
		}
		require.EqualValues(t, 100, r.look().next)
		for range 10 {
			r.c.Credit(1 << 31) // more than is counted
		}
	})
}

func TestZeroCreditDeliversNothing(t *testing.T) {
	bubble(t, 1, func(t *testing.T, m *feed.Manager, p *feedtest.Partition) {
		p.Fill(1, 1, 10)
		o := openReader()
		o.CreditBytes = 0
		r := join(t, m, p, o)
		require.Zero(t, r.look().bytes)
		r.c.Credit(1)
		require.EqualValues(t, 1, r.look().next, "one whole batch always fits")
	})
}

func TestReaderStopsAtTheEndItSaw(t *testing.T) {
	bubble(t, 1, func(t *testing.T, m *feed.Manager, p *feedtest.Partition) {
		p.Fill(20, 10, 10)
		o := openReader()
		o.StopAtEnd, o.CreditBytes = true, 100
		r := join(t, m, p, o)
		require.EqualValues(t, 200, r.ok.Next)
		p.Fill(20, 10, 10)
		r.c.Credit(1 << 20)
		got := r.look()
		require.ErrorIs(t, got.err, io.EOF)
		require.EqualValues(t, 200, got.next)
		empty := openReader()
		empty.StopAtEnd, empty.From = true, wire.From{Kind: wire.FromLatest}
		require.ErrorIs(t, join(t, m, p, empty).look().err, io.EOF)
	})
}

// TestReplicaThatStartsIsNotRead: until it is ready its log looks shorter than it is, and a reader would end, or begin, too early.
func TestReplicaThatStartsIsNotRead(t *testing.T) {
	bubble(t, 1, func(t *testing.T, m *feed.Manager, p *feedtest.Partition) {
		p.Fill(20, 10, 10)
		p.Lose()
		o := openReader()
		o.AnyReplica, o.StopAtEnd, o.From = true, true, wire.From{Kind: wire.FromLatest}
		p.Starting(protocol.Errorf(protocol.CodeUnavailable, "starting"))
		_, _, err := m.Open(t.Context(), p, o)
		require.ErrorIs(t, err, &protocol.Error{Code: protocol.CodeUnavailable})
		p.Starting(nil)
		require.EqualValues(t, 200, join(t, m, p, o).ok.From)
	})
}

func TestStartPositions(t *testing.T) {
	bubble(t, 1, func(t *testing.T, m *feed.Manager, p *feedtest.Partition) {
		p.SetTime(1000)
		p.Fill(2, 10, 10)
		p.SetTime(2000)
		p.Fill(2, 10, 10)
		p.SetStart(10)
		for _, c := range []struct {
			from wire.From
			want protocol.Offset
			code protocol.Code
		}{
			{wire.From{Kind: wire.FromEarliest}, 10, 0},
			{wire.From{Kind: wire.FromLatest}, 40, 0},
			{wire.From{Kind: wire.FromOffset, Value: 33}, 33, 0},
			{wire.From{Kind: wire.FromOffset, Value: 40}, 40, 0},
			{wire.From{Kind: wire.FromOffset, Value: 41}, 0, protocol.CodeOffsetOutOfRange},
			{wire.From{Kind: wire.FromTime, Value: 1500}, 20, 0},
			{wire.From{Kind: wire.FromTime, Value: 1 << 63}, 40, 0},
			{wire.From{Kind: 9}, 0, protocol.CodeInvalidRequest},
		} {
			o := openReader()
			o.From = c.from
			if c.code != 0 {
				_, _, err := m.Open(t.Context(), p, o)
				require.ErrorIs(t, err, &protocol.Error{Code: c.code}, "%+v", c.from)
				continue
			}
			r := join(t, m, p, o)
			require.Equal(t, c.want, r.ok.From, "%+v", c.from)
			require.EqualValues(t, 40, r.look().next)
		}
	})
}

func TestFromCountsOnlyWhileTheSubscriptionIsNew(t *testing.T) {
	bubble(t, 1, func(t *testing.T, m *feed.Manager, p *feedtest.Partition) {
		p.Fill(1, 10, 10)
		o := openSub("a")
		o.From = wire.From{Kind: wire.FromOffset, Value: 6}
		join(t, m, p, o).hangUp()
		o.From = wire.From{Kind: wire.FromOffset, Value: 1 << 40}
		require.EqualValues(t, 6, join(t, m, p, o).ok.From)
	})
}

func TestBadOpenings(t *testing.T) {
	bubble(t, 1, func(t *testing.T, m *feed.Manager, p *feedtest.Partition) {
		for _, change := range []func(*wire.ConsumeOpen){
			func(o *wire.ConsumeOpen) { o.Subscription = "a/b" },
			func(o *wire.ConsumeOpen) { o.Consumer = "" },
			func(o *wire.ConsumeOpen) { o.AnyReplica = true },
			func(o *wire.ConsumeOpen) { o.StopAtEnd = true },
		} {
			o := openSub("a")
			change(o)
			_, _, err := m.Open(t.Context(), p, o)
			var pe *protocol.Error
			require.ErrorAs(t, err, &pe)
			require.False(t, pe.Code.Retryable())
		}
		p.FailWith(func(op string) error { return protocol.Errorf(protocol.CodeLimitExceeded, "full") })
		_, _, err := m.Open(t.Context(), p, openSub("a"))
		require.ErrorIs(t, err, &protocol.Error{Code: protocol.CodeLimitExceeded})
		_, all := m.View(tp, "sub")
		require.Empty(t, all)
	})
}

func TestRetentionIsToldAsAGap(t *testing.T) {
	bubble(t, 1, func(t *testing.T, m *feed.Manager, p *feedtest.Partition) {
		p.Fill(10, 10, 10)
		a := join(t, m, p, openSub("a"))
		p.SetStart(40)
		time.Sleep(settle)
		got := a.look()
		require.Equal(t, wire.Gap{From: 0, To: 40}, got.gap)
		require.EqualValues(t, 100, got.next)
		require.NoError(t, a.ack(100))
		time.Sleep(settle)
		require.EqualValues(t, 100, a.look().ackOK.Offset)
	})
}

func TestGapUpToTheEnd(t *testing.T) {
	bubble(t, 1, func(t *testing.T, m *feed.Manager, p *feedtest.Partition) {
		p.Fill(10, 10, 10)
		o := openReader()
		o.CreditBytes = 0
		r := join(t, m, p, o)
		p.SetStart(100)
		r.c.Credit(1000)
		got := r.look()
		require.Equal(t, wire.Gap{From: 0, To: 100}, got.gap)
		p.Fill(1, 1, 1)
		require.EqualValues(t, 101, r.look().next)
	})
}

func TestDamageEndsTheStream(t *testing.T) {
	bubble(t, 1, func(t *testing.T, m *feed.Manager, p *feedtest.Partition) {
		p.Fill(3, 10, 10)
		p.Corrupt(15)
		r := join(t, m, p, openReader())
		require.ErrorIs(t, r.look().err, &protocol.Error{Code: protocol.CodeCorruptLog})
		require.Zero(t, r.look().bytes)
	})
}

// A consumer that never reads costs a bounded amount of memory, however often it is activated.
func TestControlFramesAreBounded(t *testing.T) {
	bubble(t, 1, func(t *testing.T, m *feed.Manager, p *feedtest.Partition) {
		owner, other := ownerOf(1, "a", "b")
		stuck, _, err := m.Open(t.Context(), p, openSub(other))
		require.NoError(t, err)
		defer stuck.Close()
		for range 3000 {
			fresh, _, err := m.Open(t.Context(), p, openSub(owner))
			require.NoError(t, err)
			time.Sleep(1100 * time.Millisecond)
			fresh.Close()
			time.Sleep(settle)
		}
		b, err := stuck.Fill(nil)
		require.ErrorIs(t, err, protocol.ErrOverloaded)
		require.Less(t, len(b), 66<<10)
	})
}
