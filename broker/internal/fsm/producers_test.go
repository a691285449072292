package fsm

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/trunkline/trunkline/protocol"
)

func TestProducerRunsMerge(t *testing.T) {
	p := &producer{}
	p.record(10, 5)
	p.record(15, 5)
	require.Equal(t, []run{{seq: 0, offset: 10, count: 10}}, p.runs)
	p.record(21, 1) // another producer took offset 20
	require.Equal(t, []run{{0, 10, 10}, {10, 21, 1}}, p.runs)
	require.EqualValues(t, 11, p.next)

	o, ok := p.find(3, 7)
	require.True(t, ok)
	require.EqualValues(t, 13, o)
	_, ok = p.find(9, 2) // straddles two runs: no single offset is true
	require.False(t, ok)
}

func TestProducerRunsAreBounded(t *testing.T) {
	p := &producer{}
	for i := range runsPerProducer + 5 {
		p.record(protocol.Offset(2*i), 1)
	}
	require.Len(t, p.runs, runsPerProducer)
	_, ok := p.find(4, 1)
	require.False(t, ok, "forgotten")
	o, ok := p.find(5, 1)
	require.True(t, ok)
	require.EqualValues(t, 10, o)
	require.LessOrEqual(t, cap(p.runs), 2*runsPerProducer)
}

// TestProducerRunsProperty compares the runs with a list that remembers the offset of every sequence.
func TestProducerRunsProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, end := &producer{}, protocol.Offset(0)
		var offsets []protocol.Offset // offsets[i] is where sequence i went
		for range rapid.IntRange(1, 150).Draw(t, "appends") {
			end += protocol.Offset(rapid.IntRange(0, 2).Draw(t, "others"))
			count := rapid.IntRange(1, 3).Draw(t, "count")
			p.record(end, uint64(count))
			for range count {
				offsets = append(offsets, end)
				end++
			}
		}
		if int(p.next) != len(offsets) {
			t.Fatalf("next is %d of %d", p.next, len(offsets))
		}
		first := firstRemembered(offsets)
		for seq := range offsets {
			got, ok := p.find(protocol.Sequence(seq), 1)
			if ok != (seq >= first) || ok && got != offsets[seq] {
				t.Fatalf("sequence %d: %d %v, want %d %v", seq, got, ok, offsets[seq], seq >= first)
			}
		}
	})
}

// firstRemembered returns the first of the sequences that are in the newest runsPerProducer runs.
func firstRemembered(offsets []protocol.Offset) int {
	runs := 1
	for i := len(offsets) - 1; i > 0; i-- {
		if offsets[i] == offsets[i-1]+1 {
			continue
		}
		if runs++; runs > runsPerProducer {
			return i
		}
	}
	return 0
}

func TestProducerTableForgetsInLogOrder(t *testing.T) {
	const named = protocol.NamedProducerBit
	tab := newProducerTable(4)
	for _, id := range []protocol.ProducerID{1, 2, named | 3, 4} {
		require.NotNil(t, tab.admit(id, 0))
	}
	tab.touch(tab.byID[1])
	tab.touch(tab.byID[named|3])
	require.NotNil(t, tab.admit(5, 0)) // forgets 2
	require.NotContains(t, tab.byID, protocol.ProducerID(2))
	require.NotNil(t, tab.admit(6, 0)) // forgets 4
	require.NotContains(t, tab.byID, protocol.ProducerID(4))
	var order []protocol.ProducerID
	for _, p := range tab.ordered() {
		order = append(order, p.id)
	}
	require.Equal(t, []protocol.ProducerID{named | 3, 1, 5, 6}, order)
}

func TestProducerTableNeverForgetsNamed(t *testing.T) {
	tab := newProducerTable(2)
	require.NotNil(t, tab.admit(protocol.NamedProducerBit|1, 0))
	require.NotNil(t, tab.admit(7, 0))
	require.NotNil(t, tab.admit(protocol.NamedProducerBit|2, 0)) // forgets 7
	require.Nil(t, tab.admit(8, 0))
	require.Nil(t, tab.admit(protocol.NamedProducerBit|3, 0))
	require.Len(t, tab.byID, 2)
}

// TestProducerTableProperty compares the linked list with a slice.
func TestProducerTableProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tab := newProducerTable(4)
		var order []protocol.ProducerID // least recently used first
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			id := protocol.ProducerID(rapid.IntRange(1, 8).Draw(t, "id"))
			if p := tab.byID[id]; p != nil {
				tab.touch(p)
				order = slices.DeleteFunc(order, func(o protocol.ProducerID) bool { return o == id })
			} else {
				tab.admit(id, 0)
				if len(order) == 4 {
					order = order[1:]
				}
			}
			order = append(order, id)
			var got []protocol.ProducerID
			for _, p := range tab.ordered() {
				got = append(got, p.id)
			}
			if !slices.Equal(got, order) {
				t.Fatalf("order is %v, want %v", got, order)
			}
		}
	})
}
