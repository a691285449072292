package chaos

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/client"
)

func quietLoad() *load {
	o := Options{Partitions: 2, Producers: 1}.WithDefaults()
	return newLoad(&o, newHealth(&o, time.Now()))
}

// TestMessagesAreDueAtTheirBeat: whatever became of those before, apart from the time in which consumers were waited for.
func TestMessagesAreDueAtTheirBeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := quietLoad()
		l.producers = make([]*client.Producer, 1)
		begun := time.Now()
		due, ok := l.turn(t.Context(), 0, begun)
		require.True(t, ok)
		require.Equal(t, begun, due, "without a beat it is now")

		l.goAt(20) // over two lanes: 100 ms each
		due, _ = l.turn(t.Context(), 0, due)
		require.Equal(t, begun.Add(100*time.Millisecond), due)
		require.Equal(t, due, time.Now(), "it waits for that")
		time.Sleep(time.Second)
		due, _ = l.turn(t.Context(), 0, due)
		require.Equal(t, begun.Add(200*time.Millisecond), due, "it is late, and says so")
		require.Equal(t, begun.Add(1100*time.Millisecond), time.Now())

		l.acked[0].Store(backlog)
		time.AfterFunc(3*time.Second-backlogPoll/2, func() { // seen at the poll after it
			for s := range l.delivered {
				l.delivered[s][0].Store(1)
			}
		})
		due, _ = l.turn(t.Context(), 0, due)
		require.Equal(t, begun.Add(3300*time.Millisecond), due, "3 s were the consumers'")
	})
}

func TestDelaysCountWhileTheyAreOn(t *testing.T) {
	d := newDelays()
	d.note(time.Second)
	require.Zero(t, d.get())
	d.on.Store(true)
	for range 98 {
		d.note(10 * time.Millisecond)
	}
	d.note(500 * time.Millisecond)
	d.note(time.Hour)
	got := d.take()
	require.EqualValues(t, 100, got.Count)
	require.InDelta(t, 10, got.P50, 0.01)
	require.InDelta(t, 500, got.P99, 0.5)
	require.InDelta(t, 120_000, got.Max, 100, "what takes longer counts as the slowest")
	require.Zero(t, d.get(), "they are forgotten")
}

// TestARestIsMeasuredByItself: what is published while nothing changes counts for the rest, and not for the fault.
func TestARestIsMeasuredByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := quietLoad()
		r := &run{load: l, opts: Options{Progress: io.Discard}, res: &Result{}}
		require.NoError(t, r.rest(t.Context()))
		require.False(t, l.changing.on.Load(), "a load that is no part of anything does not rest")

		r.res.PartLoad = &PartLoad{}
		l.changing.on.Store(true)
		time.AfterFunc(partSettle/2, func() { l.changing.note(time.Second); l.grown.note(time.Second) })
		time.AfterFunc(partSettle+quietFor/2, func() { l.changing.note(time.Second); l.grown.note(time.Millisecond) })
		require.NoError(t, r.rest(t.Context()))
		l.changing.note(2 * time.Millisecond)
		l.grown.note(time.Second)
		require.EqualValues(t, 1, l.grown.get().Count)
		require.InDelta(t, 1, l.grown.get().P99, 0.01)
		require.EqualValues(t, 1, l.changing.get().Count)
		require.InDelta(t, 2, l.changing.get().P99, 0.01)
	})
}

// TestPausesAreOfStepsAndPartitions: a pause counts in each step that it reaches into.
func TestPausesAreOfStepsAndPartitions(t *testing.T) {
	l := quietLoad()
	begun := time.Unix(1000, 0)
	at := func(ms int) time.Time { return begun.Add(time.Duration(ms) * time.Millisecond) }
	l.pauses.Sent(1, at(100))
	l.pauses.Answered(1, at(140))
	l.pauses.Sent(0, at(990))
	l.pauses.Answered(0, at(1010))
	r := &run{load: l, opts: Options{Partitions: 2}}
	require.Equal(t, []float64{20, 40, 20, 0}, r.stepPauses(&rolling{begun: []time.Time{begun, at(1000)}}, at(2000)))
	require.Nil(t, r.stepPauses(kill{}, at(2000)))
}

func TestLoadIsAPartAndRepeated(t *testing.T) {
	o := Options{Rows: []string{"roll"}, Load: 0.5}.WithDefaults()
	require.NoError(t, o.validate())
	require.Contains(t, o.Replay(), "--load 0.5")
	o.Load = 1.5
	require.ErrorContains(t, o.validate(), "--load 1.5 is outside 0 to 1")
	o = Options{Rows: []string{"overload"}, Load: 0.5}.WithDefaults()
	require.ErrorContains(t, o.validate(), "pace of their own")
	o = Options{Rows: []string{"roll"}, Rate: 100}.WithDefaults()
	require.ErrorContains(t, o.validate(), "it needs one")
	o.Load = 0.5
	require.NoError(t, o.validate())
	require.Contains(t, o.Replay(), "--load 0.5 --load-rate 100")
}

// TestFewerReplicasThanBrokers: where brokers are hit each has a replica, as what is expected of rows says.
func TestFewerReplicasThanBrokers(t *testing.T) {
	o := Options{Rows: []string{"none"}, Brokers: 5, Replicas: 3}.WithDefaults()
	require.NoError(t, o.validate())
	require.Contains(t, o.Replay(), "--brokers 5 --replicas 3")
	o.Rows = []string{"none", "sigkill"}
	require.ErrorContains(t, o.validate(), "--replicas 3 of 5 brokers")
	o = Options{Rows: []string{"two-more"}, Brokers: 4, Replicas: 3}.WithDefaults()
	require.ErrorContains(t, o.validate(), "need a replica on each")
	o = Options{Rows: []string{"none"}, Replicas: 4}.WithDefaults()
	require.ErrorContains(t, o.validate(), "--replicas 4 is outside 3 to 3")
}
