package chaos

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/bench/chaos/payload"
	"github.com/trunkline/trunkline/bench/verify"
	"github.com/trunkline/trunkline/bench/verify/history"
	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/protocol"
)

// published is a load that has published records 0 to n-1 of lane 0 to offsets 0 to n-1 of partition 0, and delivered them.
func published(t *testing.T, n int) *load {
	t.Helper()
	_, l := aged(t, time.Minute)
	for i := range n {
		seq := uint64(i)
		l.ledger.Sent(0, seq)
		l.answered(0, seq, 0, time.Now(), l.realTime.Began(0), client.Receipt{Offset: protocol.Offset(i)}, nil)
		l.take(0, message(0, seq, protocol.Offset(i)))
	}
	require.False(t, l.broken())
	return l
}

func message(part protocol.Partition, seq uint64, offset protocol.Offset) *client.Message {
	value := payload.Encode(verify.ID{Producer: 0, Seq: seq})
	return &client.Message{Record: client.Record{Value: value}, Partition: part, Offset: offset}
}

func TestFailingRunLeavesWhatAPersonNeeds(t *testing.T) {
	l := published(t, 100)
	// Record 101 stands at the place of record 50.
	l.ledger.Sent(0, 101)
	l.answered(0, 101, 0, time.Now(), l.realTime.Began(0), client.Receipt{Offset: 50}, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	l.watch(ctx)
	require.NoError(t, ctx.Err(), "the first violation ends the watch")
	kept, _ := l.ring.Ops()
	l.take(0, message(0, 102, 102))
	after, _ := l.ring.Ops()
	require.Len(t, after, len(kept), "what led to it is not forgotten")

	f := newChurning(1)
	f.ops = []history.Op{{Kind: history.Create, Key: "a", ID: 7, Class: history.OK, Offset: history.NoOffset}}
	r := &run{dir: t.TempDir(), load: l, faults: map[string]Fault{"churn": f, "kill": kill{}}, res: &Result{Replay: "echo the same again"}}
	r.opts.Seed = 7
	r.res.violation("two records at one place")
	require.NoError(t, r.leave())

	text, err := os.ReadFile(filepath.Join(r.dir, violationFile))
	require.NoError(t, err)
	require.Contains(t, string(text), "two records at one place")
	require.Contains(t, string(text), "I3: two records at one offset")
	for name, want := range map[string]int{historyFile: len(kept), topicsFile: 1} {
		file, err := os.Open(filepath.Join(r.dir, name))
		require.NoError(t, err)
		head, ops, err := history.Read(file)
		require.NoError(t, errors.Join(err, file.Close()))
		require.EqualValues(t, 7, head.Seed)
		require.Len(t, ops, want)
	}
	script, err := os.ReadFile(filepath.Join(r.dir, replayFile))
	require.NoError(t, err)
	require.Contains(t, string(script), "exec echo the same again")
}

func TestRunWithoutAContradictionSaysSo(t *testing.T) {
	var text strings.Builder
	require.NoError(t, explain(&text, []string{"a broker does not come back"}, nil))
	require.Contains(t, text.String(), "a broker does not come back")
	require.Contains(t, text.String(), "none contradicts another one")
}

func TestFirstViolationIsNoticed(t *testing.T) {
	for name, harm := range map[string]func(l *load){
		"a delivery twice":  func(l *load) { l.take(0, message(0, 99, 99)) },
		"a phantom":         func(l *load) { l.take(0, message(0, 1000, 100)) },
		"a skipped message": func(l *load) { l.take(0, message(0, 98, 300)) },
		"an error for a client": func(l *load) {
			l.answered(0, 99, 0, time.Now(), l.realTime.Began(0), client.Receipt{}, errors.New("no"))
		},
		"a turn that skips": func(l *load) {
			l.books[0].rebalanced(client.Rebalance{Kind: client.Assigned, Activation: 9, From: 300})
		},
		"a position that is behind": func(l *load) { positionGoesBack(l.positions) },
	} {
		t.Run(name, func(t *testing.T) {
			l := published(t, 100)
			harm(l)
			l.positions.end()
			require.True(t, l.broken())
		})
	}
}

// positionGoesBack commits up to 70 and is told 60 some time later.
func positionGoesBack(p *positions) {
	at := time.Now()
	p.committed(0, "s0", 0, 70, at, at.Add(time.Millisecond))
	later := at.Add(positionsWithin + time.Second)
	p.told(9, []client.SubscriptionState{{Subscription: "s0", Cursor: 60}}, later, later.Add(time.Millisecond))
}

func TestPositionsAreSearched(t *testing.T) {
	p := newPositions(time.Now())
	at := time.Now()
	for i := range positionsPerKey { // enough to be searched before the end
		asked := at.Add(time.Duration(i) * time.Second)
		p.told(9, []client.SubscriptionState{{Subscription: "s0", Partition: 3, Cursor: protocol.Offset(i)}}, asked, asked.Add(time.Millisecond))
	}
	require.EqualValues(t, positionsPerKey, p.findings().Checked)
	require.Empty(t, p.byKey)
	positionGoesBack(p)
	require.True(t, p.found.OK(), "it is searched at the end")
	p.end()
	f := p.findings()
	require.EqualValues(t, 1, f.Broken)
	require.Contains(t, f.Examples[0], `subscription "s0" partition 0`)
}

// TestTurnsOfASubscription feeds the books as the client does.
func TestTurnsOfASubscription(t *testing.T) {
	assigned := func(activation protocol.Activation, from protocol.Offset) client.Rebalance {
		return client.Rebalance{Kind: client.Assigned, Activation: activation, From: from}
	}
	for name, c := range map[string]struct {
		from  protocol.Offset // of the second turn, after 10 records of which 6 were committed
		sound bool
	}{
		"where it was committed":                {6, true},
		"behind it, acknowledged and not known": {8, true},
		"before it":                             {5, false},
		"it skips a record":                     {11, false},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBooks("s0", 1)
			b.rebalanced(assigned(3, 0))
			for i := range protocol.Offset(10) {
				b.turns.Delivered(0, 3, int64(i))
				b.acked[0], b.turn[0] = i+1, 3
			}
			require.Empty(t, b.confirmed([]protocol.Offset{6}, 1), "a turn was lost before the answer")
			require.Equal(t, map[int]protocol.Offset{0: 6}, b.confirmed([]protocol.Offset{6}, 0))
			b.turns.Committed(0, 3, 6)
			b.rebalanced(client.Rebalance{Kind: client.Lost, Activation: 3})
			require.Equal(t, 1, b.lostTurns())
			acked, _, _ := b.snapshot()
			require.EqualValues(t, 6, acked[0], "what is not committed may come again")
			b.turn[0] = 5
			b.acknowledged(message(0, 9, 9)) // of another turn than the partition's
			acked, _, _ = b.snapshot()
			require.EqualValues(t, 6, acked[0], "an acknowledgement that comes after the end of its turn is none")
			b.rebalanced(assigned(5, c.from))
			require.Equal(t, c.sound, b.turns.Findings().Broken == 0, "%v", b.turns.Findings().Examples)
		})
	}
}
