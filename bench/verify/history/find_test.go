package history

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// line is a sound history: record i of producer 0 is published from 10*i on, acknowledged after 5 and delivered after 8.
func line(records int64) []Op {
	var ops []Op
	for i := range records {
		ops = append(ops,
			Op{Worker: 1, Kind: Publish, Seq: uint64(i), Invoke: 10 * i, Return: 10*i + 5, Class: OK, Offset: i},
			Op{Worker: 2, Kind: Deliver, Seq: uint64(i), Invoke: 10 * i, Return: 10*i + 8, Class: OK, Offset: i})
	}
	return ops
}

func TestFindFindsWhatIsPlanted(t *testing.T) {
	const at = 2 * 50 // the publish of record 50
	for name, c := range map[string]struct {
		change    func(ops []Op) []Op
		invariant string
		op        int // the one to blame
		against   int
	}{
		"nothing":                            {func(ops []Op) []Op { return ops }, "", 0, 0},
		"a failed one says nothing":          {func(ops []Op) []Op { ops[at].Class, ops[at].Offset = Fail, 3; return ops }, "", 0, 0},
		"an unknown one says nothing":        {func(ops []Op) []Op { ops[at].Class, ops[at].Offset = Unknown, 3; return ops }, "", 0, 0},
		"another record is delivered there":  {func(ops []Op) []Op { ops[at+1].Seq = 7; return ops }, "I3", at + 1, at},
		"two are acknowledged at one offset": {func(ops []Op) []Op { ops[at].Producer = 1; ops[at].Offset = 49; return ops }, "I3", at, at - 2},
		"a producer overtakes itself": {func(ops []Op) []Op {
			ops[at].Invoke = 0 // concurrent with all before it, so it is not I8
			ops[at].Offset = 1000
			ops[at+2].Invoke = 0
			return ops
		}, "I4", at + 2, at},
		"a record is stored twice": {func(ops []Op) []Op {
			ops[at].Seq = 49
			return ops
		}, "I5", at, at - 2},
		"behind what was acknowledged before": {func(ops []Op) []Op {
			ops[at].Producer, ops[at].Offset = 1, 1000
			return ops
		}, "I8", at + 2, at},
	} {
		t.Run(name, func(t *testing.T) {
			ops := c.change(line(100))
			v := Find(ops)
			if c.invariant == "" {
				require.Nil(t, v)
				return
			}
			require.NotNil(t, v)
			require.Equal(t, c.invariant, v.Invariant, v.What)
			require.Equal(t, ops[c.op], v.Ops[v.At])
			require.Equal(t, ops[c.against], v.Ops[v.Against])
			require.Len(t, v.Ops, neighbours+2)
			var text bytes.Buffer
			require.NoError(t, v.Print(&text))
			require.Contains(t, text.String(), c.invariant)
			require.Equal(t, neighbours+4, bytes.Count(text.Bytes(), []byte("\n")))
		})
	}
}

func TestAroundShowsNeighboursOfThePartition(t *testing.T) {
	ops := line(100)
	for i := range ops {
		ops[i].Partition = int32(i / 2 % 2)
	}
	for i, at := range map[int]int{0: 0, 100: neighbours / 2, 198: neighbours - 1} {
		v := Around(ops, "lost", i)
		require.Len(t, v.Ops, neighbours+1)
		require.Equal(t, at, v.At, "operation %d", i)
		require.Equal(t, ops[i], v.Ops[v.At])
		for _, o := range v.Ops {
			require.Equal(t, ops[i].Partition, o.Partition)
		}
	}
	require.Len(t, Around(ops[:4], "lost", 1).Ops, 2, "there are no more")
}

// TestFindOfRandomHistories publishes with several producers side by side, and then acknowledges one record elsewhere.
func TestFindOfRandomHistories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var ops []Op
		next := [3]uint64{}
		for i := range rapid.Int64Range(2, 50).Draw(t, "records") {
			p := rapid.Uint32Range(0, 2).Draw(t, "producer")
			invoke := max(0, 10*i-rapid.Int64Range(0, 40).Draw(t, "earlier"))
			end := 10*i + rapid.Int64Range(0, 40).Draw(t, "later")
			ops = append(ops, Op{Kind: Publish, Producer: p, Seq: next[p], Invoke: invoke, Return: end, Class: OK, Offset: i})
			next[p]++
		}
		require.Nil(t, Find(ops))
		i := rapid.IntRange(0, len(ops)-1).Draw(t, "changed")
		ops[i].Offset = (ops[i].Offset + rapid.Int64Range(1, int64(len(ops)-1)).Draw(t, "by")) % int64(len(ops))
		require.NotNil(t, Find(ops), "two records at one offset")
	})
}
