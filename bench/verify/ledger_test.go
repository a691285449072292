package verify

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// copyOf is message seq of producer 0 at an offset of partition 0.
func copyOf(seq uint64, offset int64) Arrival { return Arrival{Seq: seq, Offset: offset} }

// TestLedgerFindsWhatIsPlanted plants one thing at a time in a run of three messages that is otherwise sound.
func TestLedgerFindsWhatIsPlanted(t *testing.T) {
	nowhere := Arrival{Seq: 1, Partition: 0, Offset: -1}
	marked := Arrival{Seq: 1, Partition: 0, Offset: -1, Redelivered: true}
	for name, tc := range map[string]struct {
		answer1 func(l *Ledger) // nil: acknowledged at its place
		arrive  []Arrival
		want    Tally // beyond Sent, Acked, Delivered of a sound run
	}{
		"nothing":                   {arrive: []Arrival{copyOf(0, 0), copyOf(1, 1), copyOf(2, 2)}},
		"lost":                      {arrive: []Arrival{copyOf(0, 0), copyOf(2, 2)}, want: Tally{Delivered: -1, Lost: 1}},
		"redelivered":               {arrive: []Arrival{copyOf(0, 0), copyOf(1, 1), copyOf(0, 0), copyOf(1, 1), copyOf(2, 2)}, want: Tally{Redelivered: 2}},
		"stored twice":              {arrive: []Arrival{copyOf(0, 0), copyOf(1, 1), copyOf(2, 2), copyOf(1, 3)}, want: Tally{Duplicated: 1}},
		"stored three times":        {arrive: []Arrival{copyOf(0, 0), copyOf(1, 1), copyOf(2, 2), copyOf(1, 3), copyOf(1, 4)}, want: Tally{Duplicated: 2}},
		"second copy again":         {arrive: []Arrival{copyOf(0, 0), copyOf(1, 1), copyOf(2, 2), copyOf(1, 3), copyOf(1, 3)}, want: Tally{Duplicated: 1, Redelivered: 1}},
		"copy elsewhere":            {arrive: []Arrival{copyOf(0, 0), copyOf(1, 1), {Seq: 1, Partition: 1, Offset: 1}, copyOf(2, 2)}, want: Tally{Duplicated: 1}},
		"a copy, though marked":     {arrive: []Arrival{copyOf(0, 0), copyOf(1, 1), copyOf(2, 2), {Seq: 1, Offset: 3, Redelivered: true}}, want: Tally{Duplicated: 1}},
		"no places, marked":         {arrive: []Arrival{copyOf(0, 0), marked, marked, copyOf(2, 2)}, want: Tally{Redelivered: 1}},
		"no places, unmarked":       {arrive: []Arrival{copyOf(0, 0), nowhere, nowhere, copyOf(2, 2)}, want: Tally{Duplicated: 1}},
		"reordered":                 {arrive: []Arrival{copyOf(1, 1), copyOf(0, 3), copyOf(2, 2)}, want: Tally{Reordered: 1, Duplicated: 1}}, // 0 is acknowledged elsewhere
		"other order, other places": {arrive: []Arrival{copyOf(0, 0), copyOf(2, 2), {Seq: 1, Partition: 0, Offset: 1}}, want: Tally{Reordered: 1}},
		"never sent":                {arrive: []Arrival{copyOf(0, 0), copyOf(1, 1), copyOf(2, 2), copyOf(3, 3)}, want: Tally{Phantom: 1}},
		"no such producer":          {arrive: []Arrival{copyOf(0, 0), copyOf(1, 1), copyOf(2, 2), {Producer: 1, Offset: 3}}, want: Tally{Phantom: 1}},
		"one place, two messages":   {arrive: []Arrival{copyOf(0, 0), nowhere, copyOf(2, 0)}, want: Tally{Lost: 1, Duplicated: 1}}, // 2 is acknowledged elsewhere
		"refused, then delivered": {func(l *Ledger) { l.Answered(0, 1, NotAppended, -1, -1) }, []Arrival{copyOf(0, 0), copyOf(1, 1), copyOf(2, 2)},
			Tally{Acked: -1, Phantom: 1}},
		"refused": {func(l *Ledger) { l.Answered(0, 1, NotAppended, -1, -1) }, []Arrival{copyOf(0, 0), copyOf(2, 1)},
			Tally{Acked: -1, Delivered: -1, Duplicated: 1}}, // 2 is acknowledged elsewhere
		"delivered, then refused": {func(l *Ledger) { l.Delivered(0, copyOf(1, 1)); l.Answered(0, 1, NotAppended, -1, -1) }, []Arrival{copyOf(2, 2)},
			Tally{Acked: -1, Delivered: -1, Phantom: 1, Lost: 1}}, // 0 does not come
		"left open, delivered":    {func(l *Ledger) { l.Answered(0, 1, Unknown, -1, -1) }, []Arrival{copyOf(0, 0), copyOf(1, 1), copyOf(2, 2)}, Tally{Acked: -1, Unanswered: 1}},
		"left open, not there":    {func(l *Ledger) { l.Answered(0, 1, Unknown, -1, -1) }, []Arrival{copyOf(0, 0), copyOf(2, 2)}, Tally{Acked: -1, Delivered: -1, Unanswered: 1}},
		"never answered":          {func(*Ledger) {}, []Arrival{copyOf(0, 0), copyOf(1, 1), copyOf(2, 2)}, Tally{Acked: -1, Unanswered: 1}},
		"answered twice":          {func(l *Ledger) { l.Answered(0, 1, Acked, 0, 1); l.Answered(0, 1, Unknown, -1, -1) }, []Arrival{copyOf(0, 0), copyOf(1, 1), copyOf(2, 2)}, Tally{Phantom: 1}},
		"acknowledged elsewhere":  {func(l *Ledger) { l.Answered(0, 1, Acked, 0, 7) }, []Arrival{copyOf(0, 0), copyOf(1, 1), copyOf(2, 2)}, Tally{Duplicated: 1}},
		"and delivered there too": {func(l *Ledger) { l.Answered(0, 1, Acked, 0, 7) }, []Arrival{copyOf(0, 0), copyOf(1, 1), copyOf(2, 2), copyOf(1, 7)}, Tally{Duplicated: 1}},
		"foreign":                 {func(l *Ledger) { l.Answered(0, 1, Acked, 0, 1); l.Foreign("32 zero bytes") }, []Arrival{copyOf(0, 0), copyOf(1, 1), copyOf(2, 2)}, Tally{Phantom: 1}},
		"delivered before the answer": {func(l *Ledger) {
			l.Delivered(0, copyOf(0, 0))
			l.Delivered(0, copyOf(1, 1))
			l.Answered(0, 1, Acked, 0, 1)
		},
			[]Arrival{copyOf(2, 2)}, Tally{}},
	} {
		t.Run(name, func(t *testing.T) {
			l := NewLedger(1, 1)
			for seq := range uint64(3) {
				l.Sent(0, seq)
			}
			l.Answered(0, 0, Acked, 0, 0)
			l.Answered(0, 2, Acked, 0, 2)
			if tc.answer1 == nil {
				l.Answered(0, 1, Acked, 0, 1)
			} else {
				tc.answer1(l)
			}
			for _, a := range tc.arrive {
				l.Delivered(0, a)
			}
			got := l.Tally()
			if bad := got.Lost + got.Duplicated + got.Reordered + got.Phantom; bad > 0 {
				require.NotEmpty(t, got.Examples)
			} else {
				require.Empty(t, got.Examples)
			}
			got.Examples = nil
			want := tc.want
			want.Sent, want.Acked, want.Delivered = 3, want.Acked+3, want.Delivered+3
			require.Equal(t, want, got)
		})
	}
}

func TestLedgerSaysWhatIsMissing(t *testing.T) {
	const n = 3 * blockBits
	l := NewLedger(2, 2)
	for seq := range uint64(n) {
		l.Sent(1, seq)
		l.Answered(1, seq, Acked, 0, int64(seq))
		if seq != blockBits+17 {
			l.Delivered(0, Arrival{Producer: 1, Seq: seq, Offset: int64(seq)})
		}
	}
	require.Equal(t, int64(1), l.Missing(0))
	require.Equal(t, int64(n), l.Missing(1))
	tally := l.Tally()
	require.Equal(t, int64(n+1), tally.Lost)
	require.Contains(t, tally.Examples[0], fmt.Sprintf("producer 1 message %d: acknowledged, and not delivered to subscription 0", blockBits+17))
}

func TestLedgerForgetsOldPlaces(t *testing.T) {
	l := NewLedger(1, 1)
	for seq := range uint64(recentPlaces + 1) {
		l.Sent(0, seq)
		l.Answered(0, seq, Acked, 0, int64(seq))
	}
	l.Delivered(0, copyOf(0, 1<<40)) // too long ago to say
	require.Zero(t, l.Tally().Duplicated)
	l.Delivered(0, copyOf(1, 1<<41))
	require.Equal(t, int64(1), l.Tally().Duplicated)
}

func TestLedgerKeepsFewExamples(t *testing.T) {
	l := NewLedger(1, 1)
	for i := range 3 * maxExamples {
		l.Foreign(fmt.Sprint(i))
	}
	l.Sent(0, 0)
	l.Answered(0, 0, Acked, -1, -1)
	tally := l.Tally()
	require.Len(t, tally.Examples, maxExamples)
	require.Contains(t, tally.Examples[0], "not delivered", "what is lost comes first")
	require.Equal(t, int64(3*maxExamples), tally.Phantom)
}

// TestLedgerAgreesWithAModel compares it with a model that keeps everything and judges it at the end.
func TestLedgerAgreesWithAModel(t *testing.T) {
	const producers, subscriptions = 2, 2
	rapid.Check(t, func(t *rapid.T) {
		l, m := NewLedger(producers, subscriptions), &model{}
		for range rapid.IntRange(0, 200).Draw(t, "events") {
			producer := rapid.Uint32Range(0, producers-1).Draw(t, "producer")
			seq := rapid.Uint64Range(0, m.sent[producer]).Draw(t, "seq")
			partition := rapid.Int32Range(-1, 1).Draw(t, "partition")
			offset := rapid.SampledFrom([]int64{-1, 0, 1, 2, 3, 4, 5, blockBits - 1, blockBits, 1 << 50}).Draw(t, "offset")
			switch rapid.IntRange(0, 3).Draw(t, "event") {
			case 0:
				l.Sent(producer, m.sent[producer])
				m.sent[producer]++
			case 1:
				o := rapid.SampledFrom([]Outcome{Acked, Acked, NotAppended, Unknown}).Draw(t, "outcome")
				l.Answered(producer, seq, o, partition, offset)
				m.answered(ID{producer, seq}, o, place{partition, offset})
			default:
				sub := rapid.IntRange(0, subscriptions-1).Draw(t, "subscription")
				a := Arrival{producer, seq, partition, offset, rapid.Bool().Draw(t, "marked")}
				l.Delivered(sub, a)
				m.delivered(sub, a)
			}
		}
		got := l.Tally()
		got.Examples = nil
		require.Equal(t, m.tally(subscriptions), got)
	})
}

// model keeps every event.
type model struct {
	sent     [2]uint64
	outcomes map[ID]Outcome
	arrived  []seen
	named    map[ID][]naming
	phantom  int64
}

type seen struct {
	sub int
	Arrival
}

// naming is a place that the answer or the first delivery on a subscription named, or a copy that came later.
type naming struct {
	place
	copied bool
}

func (m *model) name(id ID, n naming) {
	if m.named == nil {
		m.named = map[ID][]naming{}
	}
	m.named[id] = append(m.named[id], n)
}

func (m *model) answered(id ID, o Outcome, p place) {
	if _, again := m.outcomes[id]; again || id.Seq >= m.sent[id.Producer] {
		m.phantom++
		return
	}
	if m.outcomes == nil {
		m.outcomes = map[ID]Outcome{}
	}
	m.outcomes[id] = o
	if o == Acked && p.known() {
		m.name(id, naming{place: p})
	}
}

func (m *model) delivered(sub int, a Arrival) {
	if a.Seq >= m.sent[a.Producer] {
		m.phantom++
		return
	}
	id, at := ID{a.Producer, a.Seq}, place{a.Partition, a.Offset}
	had, visited := false, false
	for _, s := range m.arrived {
		had = had || s.sub == sub && s.Producer == a.Producer && s.Seq == a.Seq
		visited = visited || s.sub == sub && s.Partition == a.Partition && s.Offset == a.Offset
	}
	if at.known() && (!had || !visited) {
		m.name(id, naming{at, had})
	}
	m.arrived = append(m.arrived, seen{sub, a})
}

func (m *model) tally(subscriptions int) Tally {
	t := Tally{Sent: int64(m.sent[0] + m.sent[1]), Phantom: m.phantom}
	t.Unanswered = t.Sent
	for _, o := range m.outcomes {
		if o == Acked {
			t.Acked++
		}
		if o != Unknown {
			t.Unanswered--
		}
	}
	for sub := range subscriptions {
		m.subscription(&t, sub)
	}
	for _, names := range m.named {
		t.Duplicated += copies(names)
	}
	return t
}

// subscription judges what one of them got.
func (m *model) subscription(t *Tally, sub int) {
	had, visited, highest := map[ID]bool{}, map[place]bool{}, map[[2]int64]uint64{}
	for _, s := range m.arrived {
		if s.sub != sub {
			continue
		}
		id, at, lane := ID{s.Producer, s.Seq}, place{s.Partition, s.Offset}, [2]int64{int64(s.Producer), int64(s.Partition)}
		again, before := had[id], visited[at] && at.known()
		had[id], visited[at] = true, true
		switch {
		case again && before, again && !at.known() && s.Redelivered:
			t.Redelivered++
		case again && !at.known():
			t.Duplicated++
		case again: // counted by copies
		default:
			t.Delivered++
			if before {
				t.Lost++
			}
			if m.outcomes[id] == NotAppended {
				t.Phantom++
			}
			if s.Partition >= 0 && s.Seq < highest[lane] {
				t.Reordered++
			}
			highest[lane] = max(highest[lane], s.Seq)
		}
	}
	for id, o := range m.outcomes {
		if o == Acked && !had[id] {
			t.Lost++
		}
	}
}

// copies counts the places of one message beyond the first: a difference that was told stands for the next copy.
func copies(names []naming) int64 {
	var count int64
	var first *place
	told := false
	for _, n := range names {
		switch {
		case n.copied && told:
			told = false
		case n.copied:
			count++
		case first == nil:
			first = &n.place
		case *first != n.place && !told:
			told = true
			count++
		}
	}
	return count
}

// TestLedgerFromManyGoroutines has producers and consumers side by side; the race detector watches.
func TestLedgerFromManyGoroutines(t *testing.T) {
	const producers, subscriptions, each = 4, 2, 5000
	l := NewLedger(producers, subscriptions)
	var offset atomic.Int64
	var wg sync.WaitGroup
	for p := range uint32(producers) {
		lanes := make([]chan Arrival, subscriptions)
		for s := range lanes {
			lanes[s] = make(chan Arrival, 10)
			wg.Go(func() {
				for a := range lanes[s] {
					l.Delivered(s, a)
					if a.Seq%10 == 0 {
						l.Delivered(s, a)
					}
				}
			})
		}
		wg.Go(func() {
			for seq := range uint64(each) {
				l.Sent(p, seq)
				a := Arrival{Producer: p, Seq: seq, Offset: offset.Add(1)}
				for s := range lanes {
					lanes[s] <- a
				}
				l.Answered(p, seq, Acked, 0, a.Offset)
				_ = l.Missing(0)
			}
			for s := range lanes {
				close(lanes[s])
			}
		})
	}
	wg.Wait()
	require.Equal(t, Tally{
		Sent: producers * each, Acked: producers * each, Delivered: producers * each * subscriptions,
		Redelivered: producers * each * subscriptions / 10,
	}, l.Tally())
}

// BenchmarkLedger is the cost of one message: sent, acknowledged, and delivered once.
func BenchmarkLedger(b *testing.B) {
	for _, producers := range []int{1, 16} {
		b.Run(fmt.Sprintf("producers=%d", producers), func(b *testing.B) {
			l := NewLedger(producers, 1)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				p, seq := uint32(i%producers), uint64(i/producers)
				l.Sent(p, seq)
				l.Answered(p, seq, Acked, 0, int64(i))
				l.Delivered(0, Arrival{Producer: p, Seq: seq, Offset: int64(i)})
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/3, "ns/event")
		})
	}
}
