package verify

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// sound is a turn over the offsets 0 to 9, of which 0 to 5 are committed, and a second one that goes on at 6.
func sound(t *Turns) {
	t.Began(0, 1, 0)
	deliver(t, 1, 0, 10)
	t.Committed(0, 1, 6)
	t.Ended(0, 1)
	t.Began(0, 2, 6)
	deliver(t, 2, 6, 12)
}

func deliver(t *Turns, turn uint64, from, to int64) {
	for o := from; o < to; o++ {
		t.Delivered(0, turn, o)
	}
}

func TestTurnsFindWhatIsPlanted(t *testing.T) {
	for name, c := range map[string]struct {
		run     func(t *Turns)
		broken  int64
		again   int64
		because string
	}{
		"nothing":                                           {sound, 0, 4, ""},
		"a message is left out":                             {func(t *Turns) { sound(t); t.Delivered(0, 2, 13) }, 1, 4, "12 was expected"},
		"a message comes twice in a turn":                   {func(t *Turns) { sound(t); t.Delivered(0, 2, 11) }, 1, 5, "12 was expected"},
		"a turn skips messages":                             {func(t *Turns) { sound(t); t.Began(0, 3, 14) }, 1, 4, "skips 2"},
		"a turn skips messages and says nothing":            {func(t *Turns) { sound(t); t.Delivered(0, 3, 13) }, 1, 4, "skips 1"},
		"what was committed comes again":                    {func(t *Turns) { sound(t); t.Committed(0, 2, 12); t.Began(0, 3, 11) }, 1, 4, "had committed up to 12"},
		"what an older turn committed comes again":          {func(t *Turns) { sound(t); t.Began(0, 3, 6); t.Began(0, 4, 5) }, 1, 4, "turn 1 had committed up to 6"},
		"a late commit of an ended turn":                    {func(t *Turns) { sound(t); t.Committed(0, 1, 7) }, 1, 4, "turn 2 had begun at 6"},
		"a late confirmation of what was committed in time": {func(t *Turns) { sound(t); t.Committed(0, 1, 6) }, 0, 4, ""},
		"a commit beyond what was delivered":                {func(t *Turns) { sound(t); t.Committed(0, 2, 13) }, 1, 4, "delivered was up to 12"},
		"turns in the wrong order":                          {func(t *Turns) { sound(t); t.Began(0, 1, 6) }, 1, 4, "begins after turn 2"},
		"retention, told":                                   {func(t *Turns) { sound(t); t.Removed(0, 2, 12, 20); t.Delivered(0, 2, 20) }, 0, 4, ""},
		"retention, told of less":                           {func(t *Turns) { sound(t); t.Removed(0, 2, 12, 19); t.Delivered(0, 2, 20) }, 1, 4, "19 was expected"},
		"retention, told of elsewhere":                      {func(t *Turns) { sound(t); t.Removed(0, 2, 13, 20); t.Delivered(0, 2, 20) }, 1, 4, "12 was expected"},
		"the first turn begins behind what is gone":         {func(t *Turns) { t.Began(1, 1, 500); t.Delivered(1, 1, 500) }, 0, 0, ""},
		"the old consumer has not heard": {func(t *Turns) {
			t.Began(0, 1, 0)
			deliver(t, 1, 0, 3)
			t.Began(0, 2, 0)
			deliver(t, 2, 0, 2)
			deliver(t, 1, 3, 5)
			deliver(t, 2, 2, 8)
		}, 0, 5, ""},
		"and then it has": {func(t *Turns) { sound(t); t.Delivered(0, 1, 3) }, 0, 4, ""},
		"a commit of long ago": {func(t *Turns) {
			sound(t)
			for turn := uint64(3); turn < 3*maxTurnStarts; turn++ {
				t.Began(0, turn, 6)
			}
			t.Began(0, 3*maxTurnStarts, 5)
		}, 1, 4, "committed up to 6"},
	} {
		t.Run(name, func(t *testing.T) {
			turns := NewTurns(2)
			c.run(turns)
			f := turns.Findings()
			require.Equal(t, c.broken, f.Broken, "%v", f.Examples)
			require.Equal(t, c.again, turns.Redelivered())
			require.Positive(t, f.Checked)
			if c.broken > 0 {
				require.Contains(t, f.Examples[0], c.because)
			}
		})
	}
}

func TestTurnsStayWithinTheirBounds(t *testing.T) {
	turns := NewTurns(1)
	for turn := range uint64(10 * maxTurnStarts) {
		turns.Began(0, turn, 0)
	}
	require.Len(t, turns.partitions[0].starts, maxTurnStarts)
	require.Len(t, turns.partitions[0].open, maxOpenTurns)
}

// event is one of a random history of a partition.
type event struct {
	kind   byte // 'b'egan, 'd'elivered, 'c'ommitted
	turn   uint64
	offset int64
}

// turnsOfALog draws a history that keeps every rule: whoever is active commits what it delivered, and the next begins there.
func turnsOfALog(t *rapid.T) []event {
	var events []event
	committed := int64(0)
	for turn := range uint64(rapid.IntRange(1, 6).Draw(t, "turns")) {
		next := committed
		events = append(events, event{'b', turn, next})
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			if next > committed && rapid.IntRange(0, 3).Draw(t, "commit") == 0 {
				committed = rapid.Int64Range(committed, next).Draw(t, "to")
				events = append(events, event{'c', turn, committed})
				continue
			}
			events = append(events, event{'d', turn, next})
			next++
		}
	}
	return events
}

func judgeTurns(events []event) Findings {
	turns := NewTurns(1)
	for _, e := range events {
		switch e.kind {
		case 'b':
			turns.Began(0, e.turn, e.offset)
		case 'd':
			turns.Delivered(0, e.turn, e.offset)
		case 'c':
			turns.Committed(0, e.turn, e.offset)
		}
	}
	return turns.Findings()
}

func TestTurnsOfRandomHistories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		events := turnsOfALog(t)
		f := judgeTurns(events)
		require.Zero(t, f.Broken, "%v", f.Examples)

		i := rapid.IntRange(0, len(events)-1).Draw(t, "event")
		high, committed := int64(0), int64(0)
		for _, e := range events[:i] {
			if e.kind == 'd' {
				high = max(high, e.offset+1)
			}
			if e.kind == 'c' && e.turn != events[i].turn {
				committed = max(committed, e.offset)
			}
		}
		switch e := &events[i]; {
		case e.kind == 'd': // at another offset: the same message again, or one left out
			e.offset += int64(rapid.SampledFrom([]int{-3, -2, -1, 1, 2, 3}).Draw(t, "by"))
		case e.kind == 'c': // more than was ever delivered
			e.offset = high + rapid.Int64Range(1, 5).Draw(t, "above")
		case e.turn > 0 && committed > 0 && rapid.Bool().Draw(t, "below"):
			e.offset = rapid.Int64Range(0, committed-1).Draw(t, "from")
		case e.turn > 0:
			e.offset = high + rapid.Int64Range(1, 5).Draw(t, "behind")
		default: // the first turn may begin anywhere, but delivers from there
			e.offset++
		}
		require.Positive(t, judgeTurns(events).Broken, "%v", events)
	})
}

func TestTurnsKeepWhatIsCommittedInEitherOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from := rapid.Int64Range(0, 9).Draw(t, "from")
		next := rapid.Int64Range(0, 10).Draw(t, "committed")
		events := []event{{'b', 1, 0}}
		for o := range int64(10) {
			events = append(events, event{'d', 1, o})
		}
		last := []event{{'b', 2, from}, {'c', 1, next}}
		if rapid.Bool().Draw(t, "confirmed first") {
			slices.Reverse(last)
		}
		require.Equal(t, next > from, judgeTurns(append(events, last...)).Broken > 0)
	})
}

// BenchmarkTurns is the cost of one delivery.
func BenchmarkTurns(b *testing.B) {
	turns := NewTurns(1)
	turns.Began(0, 1, 0)
	b.ReportAllocs()
	for i := int64(0); b.Loop(); i++ {
		turns.Delivered(0, 1, i)
	}
}
