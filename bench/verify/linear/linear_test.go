package linear

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/trunkline/trunkline/bench/verify/history"
)

// op is an operation on topic "a", or on its subscription.
func op(kind history.Kind, invoke, end int64, class history.Class, id uint64) history.Op {
	return history.Op{Kind: kind, Key: "a", Invoke: invoke, Return: end, Class: class, ID: id, Offset: history.NoOffset}
}

func ok(kind history.Kind, invoke, end int64, id uint64) history.Op {
	return op(kind, invoke, end, history.OK, id)
}

const (
	create, remove, tell = history.Create, history.Delete, history.Describe
	unknown, failed      = history.Unknown, history.Fail
)

func TestTopics(t *testing.T) {
	for name, c := range map[string]struct {
		ops   []history.Op
		stale time.Duration
		sound bool
	}{
		"created, told, deleted, created":  {[]history.Op{ok(create, 0, 1, 1), ok(tell, 2, 3, 1), ok(remove, 4, 5, 1), ok(tell, 6, 7, 0), ok(create, 8, 9, 2), ok(tell, 10, 11, 2)}, 0, true},
		"created twice":                    {[]history.Op{ok(create, 0, 1, 1), ok(create, 2, 3, 2)}, 0, false},
		"created twice, side by side":      {[]history.Op{ok(create, 0, 5, 1), ok(create, 0, 5, 2)}, 0, false},
		"an identity again":                {[]history.Op{ok(create, 0, 1, 1), ok(remove, 2, 3, 1), ok(create, 4, 5, 1)}, 0, false},
		"a lower identity":                 {[]history.Op{ok(create, 0, 1, 5), ok(remove, 2, 3, 5), ok(create, 4, 5, 4)}, 0, false},
		"told of what never was":           {[]history.Op{ok(create, 0, 1, 1), ok(tell, 2, 3, 7)}, 0, false},
		"told of nothing where one is":     {[]history.Op{ok(create, 0, 1, 1), ok(tell, 2, 3, 0)}, 0, false},
		"told before it is made":           {[]history.Op{ok(tell, 0, 1, 1), ok(create, 2, 3, 1)}, 0, false},
		"told while it is made":            {[]history.Op{ok(create, 0, 3, 1), ok(tell, 1, 2, 1), ok(tell, 1, 2, 0)}, 0, true},
		"told of the dead":                 {[]history.Op{ok(create, 0, 1, 1), ok(remove, 2, 3, 1), ok(tell, 4, 5, 1)}, 0, false},
		"told of the dead, in time":        {[]history.Op{ok(create, 0, 1, 1), ok(remove, 2, 3, 1), ok(tell, 4, 5, 1)}, 2, true},
		"told of the dead, too late":       {[]history.Op{ok(create, 0, 1, 1), ok(remove, 2, 3, 1), ok(tell, 6, 7, 1)}, 2, false},
		"deleted, and still there":         {[]history.Op{ok(create, 0, 1, 1), ok(remove, 2, 3, 1), ok(create, 4, 5, 2), ok(tell, 6, 7, 1)}, 0, false},
		"an unknown creation has happened": {[]history.Op{op(create, 0, 1, unknown, 0), ok(tell, 5, 6, 4), ok(tell, 7, 8, 4)}, 0, true},
		"an unknown creation has not":      {[]history.Op{op(create, 0, 1, unknown, 0), ok(tell, 5, 6, 0), ok(create, 7, 8, 1)}, 0, true},
		"an unknown creation happens late": {[]history.Op{op(create, 0, 1, unknown, 0), ok(tell, 5, 6, 0), ok(tell, 7, 8, 1)}, 0, true},
		"it does not happen twice":         {[]history.Op{op(create, 0, 1, unknown, 0), ok(tell, 5, 6, 1), ok(remove, 7, 8, 1), ok(tell, 9, 10, 2)}, 0, false},
		"it has one identity":              {[]history.Op{op(create, 0, 1, unknown, 0), ok(tell, 5, 6, 1), ok(tell, 7, 8, 2)}, 0, false},
		"a failed creation has not":        {[]history.Op{op(create, 0, 1, failed, 0), ok(tell, 5, 6, 4)}, 0, false},
		"an unknown deletion":              {[]history.Op{ok(create, 0, 1, 1), op(remove, 2, 3, unknown, 1), ok(tell, 4, 5, 1), ok(tell, 6, 7, 0)}, 0, true},
		"it deletes once":                  {[]history.Op{ok(create, 0, 1, 1), op(remove, 2, 3, unknown, 1), ok(tell, 4, 5, 0), ok(tell, 6, 7, 1)}, 0, false},
		"deleted twice":                    {[]history.Op{ok(create, 0, 1, 1), ok(remove, 2, 3, 1), ok(remove, 4, 5, 1)}, 0, true},
		"deleted what never was":           {[]history.Op{ok(create, 0, 1, 1), ok(remove, 2, 3, 7)}, 0, false},
		"the successor is taken":           {[]history.Op{ok(create, 0, 1, 1), ok(remove, 2, 3, 1), ok(create, 4, 5, 2), ok(remove, 6, 7, 1), ok(tell, 8, 9, 0)}, 0, true},
		"the successor stays":              {[]history.Op{ok(create, 0, 1, 1), ok(remove, 2, 3, 1), ok(create, 4, 5, 2), ok(remove, 6, 7, 1), ok(tell, 8, 9, 2)}, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := Topics(c.ops, Options{Stale: c.stale})
			require.NoError(t, err)
			require.Empty(t, r.Undecided)
			require.Equal(t, c.sound, r.OK(), "%v", r.Broken)
			require.Equal(t, 1, r.Keys)
			if !c.sound {
				require.Contains(t, r.Broken[0], `topic "a": `)
			}
		})
	}
}

// place is a commit or a read of a position.
func place(kind history.Kind, invoke, end, offset int64, class history.Class) history.Op {
	return history.Op{Kind: kind, Key: "s", Invoke: invoke, Return: end, Class: class, Offset: offset}
}

func TestPositions(t *testing.T) {
	commit := func(invoke, end, offset int64) history.Op {
		return place(history.Commit, invoke, end, offset, history.OK)
	}
	read := func(invoke, end, offset int64) history.Op {
		return place(history.Position, invoke, end, offset, history.OK)
	}
	for name, c := range map[string]struct {
		ops   []history.Op
		sound bool
	}{
		"committed and read":            {[]history.Op{read(0, 1, 0), commit(2, 3, 5), read(4, 5, 5)}, true},
		"it went on by itself":          {[]history.Op{commit(2, 3, 5), read(4, 5, 7), read(6, 7, 9)}, true},
		"a commit is not there":         {[]history.Op{commit(2, 3, 5), read(4, 5, 4)}, false},
		"a position goes back":          {[]history.Op{read(0, 1, 7), read(2, 3, 6)}, false},
		"side by side, either":          {[]history.Op{read(0, 5, 7), read(0, 5, 6), commit(0, 5, 9)}, true},
		"a commit that is under way":    {[]history.Op{commit(0, 9, 5), read(1, 2, 3), read(3, 4, 4), read(5, 6, 5)}, true},
		"read, then lower":              {[]history.Op{commit(0, 9, 5), read(1, 2, 5), read(3, 4, 4)}, false},
		"an unknown commit":             {[]history.Op{place(history.Commit, 0, 1, 5, unknown), read(2, 3, 0), read(4, 5, 5)}, true},
		"an unknown commit, then lower": {[]history.Op{place(history.Commit, 0, 1, 5, unknown), read(2, 3, 5), read(4, 5, 0)}, false},
		"a late commit of less":         {[]history.Op{commit(0, 1, 9), commit(2, 3, 5), read(4, 5, 9)}, true},
		"and it takes back":             {[]history.Op{commit(0, 1, 9), commit(2, 3, 5), read(4, 5, 5)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := Positions(c.ops, Options{})
			require.NoError(t, err)
			require.Equal(t, c.sound, r.OK(), "%v", r.Broken)
			require.Equal(t, 1, r.Keys)
		})
	}
}

func TestPositionsOfAReplacedLeader(t *testing.T) {
	stale := []history.Op{place(history.Commit, 0, 1, 5, history.OK), place(history.Position, 4, 5, 4, history.OK)}
	for allowed, sound := range map[time.Duration]bool{0: false, 2: false, 3: true} {
		r, err := Positions(stale, Options{Stale: allowed})
		require.NoError(t, err)
		require.Equal(t, sound, r.OK(), "%d", allowed)
	}
}

func TestKeysAreJudgedByThemselves(t *testing.T) {
	ops := []history.Op{ok(create, 0, 1, 1), ok(create, 2, 3, 2), {Kind: history.Publish}}
	ops[1].Key = "b"
	r, err := Topics(ops, Options{})
	require.NoError(t, err)
	require.Equal(t, Result{Keys: 2, Ops: 2}, r)
}

func TestTooMuchIsRefused(t *testing.T) {
	var ops []history.Op
	for i := range int64(maxOps + 1) {
		ops = append(ops, place(history.Position, i, i, i, history.OK))
	}
	r, err := Positions(ops[1:], Options{})
	require.NoError(t, err)
	require.True(t, r.OK())
	_, err = Positions(ops, Options{})
	var long *TooLongError
	require.ErrorAs(t, err, &long)
	require.True(t, errors.As(err, &long) && long.Ops == maxOps+1)
}

// TestTheCapIsKept searches what takes exponential time: many creations that nobody knows anything of.
func TestTheCapIsKept(t *testing.T) {
	var ops []history.Op
	for i := range int64(40) {
		ops = append(ops, op(create, i, i+1, unknown, 0), op(remove, i, i+1, unknown, 0))
	}
	for i := range int64(40) {
		ops = append(ops, ok(tell, 100+2*i, 101+2*i, uint64(1+i)))
	}
	ops = append(ops, ok(tell, 300, 301, 1))
	began := time.Now()
	r, err := Topics(ops, Options{Cap: 50 * time.Millisecond})
	require.NoError(t, err)
	require.False(t, r.OK(), "it is broken, or was not decided")
	require.Less(t, time.Since(began), 5*time.Second)
}

// run is a random history of one name: a real register, asked by workers that overlap.
func run(random *rand.Rand, length int) []history.Op {
	var ops []history.Op
	var now topic
	next := uint64(1)
	for i := range length {
		at := int64(10 * i)
		o := history.Op{Worker: i % 3, Key: "a", Invoke: at - random.Int64N(15), Return: at + random.Int64N(15), Class: history.OK}
		switch {
		case !now.exists && random.IntN(2) == 0:
			o.Kind, o.ID = create, next
			now, next = topic{exists: true, id: next}, next+1+random.Uint64N(2)
		case now.exists && random.IntN(3) == 0:
			o.Kind, o.ID, now = remove, now.id, topic{}
		default:
			o.Kind, o.ID = tell, now.id
		}
		if o.Kind != tell && random.IntN(8) == 0 {
			o.Class = unknown
			if o.Kind == create {
				o.ID = 0
			}
		}
		ops = append(ops, o)
	}
	return ops
}

func TestTopicsOfRandomHistories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		ops := run(random, rapid.IntRange(2, 40).Draw(t, "operations"))
		r, err := Topics(ops, Options{})
		require.NoError(t, err)
		require.True(t, r.OK(), "%v", r)

		end := int64(1000)
		ops = append(ops, ok(create, end, end+1, 1000)) // if there is one, this is broken already
		ops = append(ops, ok(remove, end+2, end+3, 1000), ok(tell, end+4, end+5, 1000))
		r, err = Topics(ops, Options{})
		require.NoError(t, err)
		require.False(t, r.OK(), "told of the dead")
	})
}

// TestPositionsAgreeWithComparison compares with the rule in real time, each with each.
func TestPositionsAgreeWithComparison(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var ops []history.Op
		for range rapid.IntRange(1, 12).Draw(t, "operations") {
			kind := rapid.SampledFrom([]history.Kind{history.Commit, history.Position}).Draw(t, "kind")
			invoke := rapid.Int64Range(0, 30).Draw(t, "invoke")
			ops = append(ops, place(kind, invoke, invoke+rapid.Int64Range(0, 9).Draw(t, "took"), rapid.Int64Range(0, 5).Draw(t, "offset"), history.OK))
		}
		sound := true
		for _, a := range ops {
			for _, b := range ops {
				sound = sound && (b.Kind != history.Position || a.Return >= b.Invoke || a.Offset <= b.Offset)
			}
		}
		r, err := Positions(ops, Options{})
		require.NoError(t, err)
		require.Equal(t, sound, r.OK(), "%v", r.Broken)
	})
}
