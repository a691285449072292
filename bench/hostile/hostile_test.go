package hostile

import (
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/bench/cluster"
	"github.com/trunkline/trunkline/bench/trial"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
	"github.com/trunkline/trunkline/protocol/frame"
	"github.com/trunkline/trunkline/protocol/wire"
)

var testBombs = sync.OnceValues(makeBombs)

func testForge(t *testing.T, seed uint64) *forge {
	bombs, err := testBombs()
	require.NoError(t, err)
	a := &aims{
		brokers: []cluster.Broker{{ID: 1}}, checked: 1, target: 2, partitions: 4, bombs: bombs,
		led: map[int][]protocol.Partition{1: {0, 2}}, ledChecked: map[int][]protocol.Partition{1: {1}},
	}
	return &forge{rnd: rand.New(rand.NewPCG(seed, 1)), aims: a, broker: 1, topics: true}
}

func TestASeedMakesTheSameStreams(t *testing.T) {
	a, b, other := testForge(t, 3), testForge(t, 3), testForge(t, 4)
	same := 0
	for range 500 {
		x := a.stream()
		require.Equal(t, x, b.stream())
		if string(x.bytes) == string(other.stream().bytes) {
			same++
		}
	}
	require.Less(t, same, 20)
}

func TestStreamsAreOfManyKindsAndDoNoLawfulHarm(t *testing.T) {
	f := testForge(t, 5)
	bytes, frames := 0, 0
	first := map[protocol.Kind]int{}
	for range 2000 {
		s := f.stream()
		require.False(t, f.aims.harms(s.bytes, true))
		bytes, frames = bytes+len(s.bytes), frames+s.frames
		if h, err := frame.ParseHeader(s.bytes); err == nil {
			first[h.Kind]++
		}
	}
	for _, k := range []protocol.Kind{protocol.KindHello, protocol.KindProduceOpen, protocol.KindConsumeOpen, protocol.KindRequest} {
		require.Greater(t, first[k], 20, "%s", k)
	}
	require.Greater(t, frames, 2000)
	t.Logf("%d frames, %d bytes in 2000 streams", frames, bytes)
}

func TestHarms(t *testing.T) {
	f := testForge(t, 1)
	stream := func(k protocol.Kind, m interface{ Append([]byte) []byte }, batches ...[]byte) []byte {
		b := wire.AppendFrame(nil, k, m)
		for _, body := range batches {
			b = frame.Append(b, protocol.KindProduce, body)
		}
		return b
	}
	good := f.good(9, 0)
	bad := append([]byte(nil), good...)
	bad[len(bad)-1] ^= 1
	two := uint32(2)
	for what, c := range map[string]struct {
		stream []byte
		harm   bool
	}{
		"a good batch":            {stream(protocol.KindProduceOpen, &wire.ProduceOpen{Topic: 1, Producer: 9}, good), true},
		"a good batch behind one": {stream(protocol.KindProduceOpen, &wire.ProduceOpen{Topic: 1, Producer: 9}, bad, good), true},
		"a bad batch":             {stream(protocol.KindProduceOpen, &wire.ProduceOpen{Topic: 1, Producer: 9}, bad), false},
		"on the target":           {stream(protocol.KindProduceOpen, &wire.ProduceOpen{Topic: 2, Producer: 9}, good), false},
		"the trial's subscription": {stream(protocol.KindConsumeOpen,
			&wire.ConsumeOpen{Topic: 1, Subscription: trial.Subscription, Consumer: "x"}), true},
		"a reader":        {stream(protocol.KindConsumeOpen, &wire.ConsumeOpen{Topic: 1}), false},
		"a big topic":     {stream(protocol.KindRequest, &wire.Request{CreateTopic: &wire.CreateTopic{Name: "a", Partitions: 4096}}), true},
		"a junk topic":    {stream(protocol.KindRequest, &wire.Request{CreateTopic: &wire.CreateTopic{Name: junk[0], Partitions: 1}}), false},
		"deleting it":     {stream(protocol.KindRequest, &wire.Request{DeleteTopic: &wire.DeleteTopic{Name: checkedName}}), true},
		"deleting by ID":  {stream(protocol.KindRequest, &wire.Request{DeleteTopic: &wire.DeleteTopic{Name: "x", ID: 1}}), true},
		"altering it":     {stream(protocol.KindRequest, &wire.Request{AlterTopic: &wire.AlterTopic{Name: targetName, Partitions: &two}}), true},
		"half of it":      {stream(protocol.KindRequest, &wire.Request{DeleteTopic: &wire.DeleteTopic{Name: checkedName}})[:12], false},
		"asking about it": {stream(protocol.KindRequest, &wire.Request{PartitionState: &wire.PartitionStateRequest{Topic: 1}}), false},
	} {
		require.Equal(t, c.harm, f.aims.harms(c.stream, true), what)
	}
	create := stream(protocol.KindRequest, &wire.Request{CreateTopic: &wire.CreateTopic{Name: junk[0], Partitions: 1}})
	require.True(t, f.aims.harms(create, false), "not in every shot")
}

// TestSealedBatchesAreWrongInTheirContentsOnly: without right checksums every bad batch would be refused for them.
func TestSealedBatchesAreWrongInTheirContentsOnly(t *testing.T) {
	f := testForge(t, 2)
	accepted, refused := 0, map[string]int{}
	for range 2000 {
		if _, err := batch.Check(f.bad(f.good(9, 0)), protocol.DefaultMaxBatchBytes); err == nil {
			accepted++
		} else {
			refused[err.Error()[:min(24, len(err.Error()))]]++
		}
	}
	require.Greater(t, accepted, 300)
	require.Greater(t, len(refused), 6, "%v", refused)
}
