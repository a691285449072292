package fsm

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	sm "github.com/lni/dragonboat/v4/statemachine"
	"pgregory.net/rapid"

	"github.com/trunkline/trunkline/broker/internal/storefs"
	"github.com/trunkline/trunkline/protocol"
)

// partitionTest drives one partition: a replica that is compared with the model after every step, a second one that lags,
// and the Raft log that both apply.
type partitionTest struct {
	main, lagging *replica
	model         *model
	log           []logged
	index         uint64
	named         int // how many of the producers drawn are named
}

var drawRand = rapid.Custom(func(t *rapid.T) *rand.Rand {
	if rapid.Bool().Draw(t, "lose everything unsynced") {
		return nil
	}
	return rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
})

var drawSizes = rapid.SliceOfN(rapid.IntRange(0, 5), 1, 4)

// TestPartitionProperty applies random commands under crashes, reopenings and snapshots.
func TestPartitionProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := &partitionTest{
			main: newReplica(t, storefs.NewMem()), lagging: newReplica(t, storefs.NewMem()),
			model: newModel(4, 3), named: rapid.IntRange(0, 5).Draw(t, "named producers"),
		}
		p.claim(t, 1, 1, 1)
		t.Repeat(map[string]func(*rapid.T){
			"ops":       p.ops,
			"ops again": p.ops, // more often than the rest
			"alternate": p.alternate,
			"epoch":     p.epochBegin,
			"fenced":    p.fenced,
			"malformed": p.malformed,
			"sync":      func(t *rapid.T) { p.main.sync() },
			"crash": func(t *rapid.T) {
				p.main.crash(drawRand.Draw(t, "crash"))
				p.main.replay(p.log, drawSizes.Draw(t, "batches"))
			},
			"close": func(t *rapid.T) {
				if err := p.main.m.Close(); err != nil {
					t.Fatal(err)
				}
				p.main.open(p.index)
			},
			"catch up": func(t *rapid.T) {
				n := rapid.IntRange(0, len(p.log)).Draw(t, "up to")
				p.lagging.replay(p.log[:n], drawSizes.Draw(t, "batches"))
			},
			"snapshot": p.snapshot,
			"swap":     p.swap,
			"":         func(t *rapid.T) { p.main.check(p.model) },
		})
		p.lagging.replay(p.log, []int{3})
		p.lagging.check(p.model)
		p.main.sameAs(p.lagging)
	})
}

// commit applies one command to the main replica and appends it to the log.
func (p *partitionTest) commit(t *rapid.T, cmd []byte) sm.Result {
	p.index += rapid.Uint64Range(1, 3).Draw(t, "index step") // Raft's own entries take indexes too
	e := logged{index: p.index, cmd: bytes.Clone(cmd)}
	e.result = p.main.apply(e)[0].Result
	var applied uint64
	if applied, e.hash = p.main.m.Hash(); applied != p.index || p.main.m.Applied() != p.index {
		t.Fatalf("applied %d, want %d", applied, p.index)
	}
	p.log = append(p.log, e)
	return e.result
}

func (p *partitionTest) claim(t *rapid.T, term, attempt uint64, broker protocol.BrokerID) {
	got := p.commit(t, EpochBegin(term, broker, attempt, 1))
	if p.model.beginEpoch(term, attempt, broker) {
		if got.Value != ValueOK || ParseEpoch(got.Data) != p.model.epoch {
			t.Fatalf("claim %d/%d gave %v", term, attempt, got)
		}
		return
	}
	p.mustBeFenced(t, got)
}

func (p *partitionTest) mustBeFenced(t *rapid.T, got sm.Result) {
	epoch, leader := ParseFenced(got.Data)
	if got.Value != ValueFenced || epoch != p.model.epoch || leader != p.model.leader {
		t.Fatalf("got %v, want fenced by epoch %d of %d", got, p.model.epoch, p.model.leader)
	}
}

func (p *partitionTest) epochBegin(t *rapid.T) {
	near := func(v uint64, label string) uint64 {
		return rapid.Uint64Range(v-min(v, 1), v+2).Draw(t, label)
	}
	broker := protocol.BrokerID(rapid.IntRange(1, 3).Draw(t, "broker"))
	p.claim(t, near(p.model.term, "term"), near(p.model.attempt, "attempt"), broker)
}

func (p *partitionTest) fenced(t *rapid.T) {
	epoch := rapid.Custom(func(t *rapid.T) protocol.Epoch {
		return protocol.Epoch(rapid.Uint64Range(0, uint64(p.model.epoch)+3).Draw(t, "epoch"))
	}).Filter(func(e protocol.Epoch) bool { return e != p.model.epoch }).Draw(t, "wrong epoch")
	b := NewOps(epoch, 1)
	b.Append(p.drawBatch(t))
	b.SetStart(p.model.next())
	p.mustBeFenced(t, p.commit(t, b.Bytes()))
}

func (p *partitionTest) malformed(t *rapid.T) {
	cmd := rapid.OneOf(
		rapid.SliceOfN(rapid.Byte(), 1, 40).Filter(func(b []byte) bool { return b[0] == 0 }),
		rapid.Just([]byte{}),
		rapid.Just(EpochBegin(99, 1, 1, 1)[:epochBeginSize-1]),
		rapid.Just(append(NewOps(p.model.epoch, 1).Bytes(), opSetStart, 0, 0, 0, 9, 1)),
	).Draw(t, "command")
	if got := p.commit(t, cmd); got.Value != ValueMalformed || got.Data != nil {
		t.Fatalf("got %v", got)
	}
}

// ops commits a command of several operations and compares each result.
func (p *partitionTest) ops(t *rapid.T) {
	timeMs := rapid.Int64Range(-5, 1000).Draw(t, "leader time")
	b := NewOps(p.model.epoch, timeMs)
	var want []OpResult
	for range rapid.IntRange(0, 5).Draw(t, "operations") {
		want = append(want, p.op(t, b, timeMs))
	}
	p.expect(t, b, want)
}

func (p *partitionTest) expect(t *rapid.T, b *Builder, want []OpResult) {
	got := p.commit(t, b.Bytes())
	if got.Value != ValueOK || len(got.Data) != len(want)*opResultSize {
		t.Fatalf("got %v for %d operations", got, len(want))
	}
	for i, w := range want {
		if g := ParseResult(got.Data, i); g != w {
			t.Fatalf("operation %d gave %+v, want %+v", i, g, w)
		}
	}
}

// op draws one operation, adds it to b and applies it to the model.
func (p *partitionTest) op(t *rapid.T, b *Builder, timeMs int64) OpResult {
	name := rapid.SampledFrom([]string{"a", "b", "c", "d", "", "no/good"})
	near := rapid.Custom(func(t *rapid.T) protocol.Offset {
		return protocol.Offset(rapid.Uint64Range(0, uint64(p.model.next())+2).Draw(t, "offset"))
	})
	switch rapid.SampledFrom([]string{
		"append", "append", "append", "append", "producer", "cursor", "activate", "ack", "delete", "start", "bad",
	}).Draw(t, "op") {
	case "append":
		raw := p.drawBatch(t)
		b.Append(raw)
		return p.model.append(raw, timeMs)
	case "producer":
		id, epoch := p.drawProducer(t), protocol.ProducerEpoch(rapid.IntRange(0, 3).Draw(t, "producer epoch"))
		b.ProducerOpen(id, epoch)
		return p.model.producerOpen(id, epoch)
	case "cursor":
		n, o := name.Draw(t, "name"), near.Draw(t, "if new")
		b.CursorOpen(n, o)
		return p.model.cursorOpen(n, o)
	case "activate":
		n := name.Draw(t, "name")
		b.CursorActivate(n)
		return p.model.cursorActivate(n)
	case "ack":
		n, o := name.Draw(t, "name"), near.Draw(t, "ack")
		current := uint64(p.model.cursors[n].Activation)
		a := protocol.Activation(rapid.Uint64Range(current-min(current, 1), current+1).Draw(t, "activation"))
		b.CursorAck(n, a, o)
		return p.model.cursorAck(n, a, o)
	case "delete":
		n := name.Draw(t, "name")
		b.CursorDelete(n)
		return p.model.cursorDelete(n)
	case "start":
		o := near.Draw(t, "start")
		b.SetStart(o)
		return p.model.setStart(o)
	}
	bads := []byte{0, opProducerOpen, opCursorOpen, opCursorAck, opSetStart, opSetStart + 1, 255}
	bad := rapid.SampledFrom(bads).Draw(t, "op")
	b.begin(bad, 7)
	b.buf = append(b.buf, "7 bytes"...)
	return OpResult{Code: protocol.CodeInvalidRequest}
}

func (p *partitionTest) drawProducer(t *rapid.T) protocol.ProducerID {
	i := rapid.IntRange(0, 5).Draw(t, "producer")
	if i < p.named {
		return protocol.NamedProducerBit | protocol.ProducerID(i+1)
	}
	return protocol.ProducerID(i + 1)
}

// drawBatch draws a batch that is mostly, not always, the one its producer would send next.
func (p *partitionTest) drawBatch(t *rapid.T) []byte {
	id, count := p.drawProducer(t), rapid.IntRange(1, 4).Draw(t, "records")
	next, epoch := uint64(0), 0
	if known := p.model.producers[id]; known != nil {
		next, epoch = uint64(len(known.offsets)), int(known.epoch)
	}
	seq := rapid.OneOf(rapid.Just(next), rapid.Just(next), rapid.Just(next), rapid.Uint64Range(0, next+2)).Draw(t, "sequence")
	epoch = rapid.SampledFrom([]int{epoch, epoch, epoch, epoch, epoch + 1, max(epoch-1, 0)}).Draw(t, "producer epoch")
	b := makeBatch(id, protocol.ProducerEpoch(epoch), protocol.Sequence(seq), count)
	switch rapid.IntRange(0, 30).Draw(t, "damage") {
	case 1:
		b[rapid.IntRange(0, len(b)-1).Draw(t, "byte")] ^= 1
	case 2:
		b = b[:rapid.IntRange(0, len(b)-1).Draw(t, "cut")]
	}
	return b
}

// alternate makes producers take turns, so that runs cannot be merged and old ones are forgotten.
func (p *partitionTest) alternate(t *rapid.T) {
	ids := []protocol.ProducerID{p.drawProducer(t), p.drawProducer(t)}
	b := NewOps(p.model.epoch, 5)
	var want []OpResult
	for i := range rapid.IntRange(2, 60).Draw(t, "turns") {
		id, seq, epoch := ids[i%2], 0, protocol.ProducerEpoch(0)
		if known := p.model.producers[id]; known != nil {
			seq, epoch = len(known.offsets), known.epoch
		}
		raw := makeBatch(id, epoch, protocol.Sequence(seq), 1)
		b.Append(raw)
		want = append(want, p.model.append(raw, 5))
	}
	p.expect(t, b, want)
}

// snapshot brings the lagging replica up by a stream that was frozen before more was applied, perhaps in a crash.
func (p *partitionTest) snapshot(t *rapid.T) {
	if p.lagging.m.Applied() >= p.index {
		return
	}
	frozen, err := p.main.m.PrepareSnapshot()
	if err != nil {
		t.Fatal(err)
	}
	index, hash := p.main.m.Hash()
	p.ops(t)
	if rapid.Bool().Draw(t, "sync between") {
		p.main.sync() // may delete segments that the snapshot still needs
	}
	var stream bytes.Buffer
	if err := p.main.m.SaveSnapshot(frozen, &stream, nil); err != nil {
		t.Fatal(err)
	}
	if rapid.Bool().Draw(t, "damaged first") {
		cut := rapid.IntRange(0, stream.Len()-1).Draw(t, "cut")
		if err := p.lagging.m.RecoverFromSnapshot(bytes.NewReader(stream.Bytes()[:cut]), nil); err == nil {
			t.Fatalf("a stream of %d bytes was taken after %d", stream.Len(), cut)
		}
		p.lagging.crash(drawRand.Draw(t, "crash"))
	}
	p.lagging.recover(stream.Bytes())
	if i, h := p.lagging.m.Hash(); i != index || h != hash {
		t.Fatalf("recovered to %d %x, want %d %x", i, h, index, hash)
	}
	if rapid.Bool().Draw(t, "crash after") {
		p.lagging.crash(drawRand.Draw(t, "crash"))
	}
	p.lagging.replay(p.log, drawSizes.Draw(t, "batches"))
	p.main.sameAs(p.lagging)
}

// swap makes the lagging replica the main one.
func (p *partitionTest) swap(t *rapid.T) {
	p.lagging.replay(p.log, drawSizes.Draw(t, "batches"))
	p.main, p.lagging = p.lagging, p.main
}

// TestHostileCommands applies random bytes and mutated commands to two machines: they never panic and always agree.
func TestHostileCommands(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := newReplica(t, storefs.NewMem()), newReplica(t, storefs.NewMem())
		index := uint64(0)
		seeds := [][]byte{EpochBegin(1, 1, 1, 1), goldenOps().Bytes(), NewOps(0, 0).Bytes()}
		for range rapid.IntRange(1, 30).Draw(t, "commands") {
			index++
			cmd := bytes.Clone(rapid.SampledFrom(seeds).Draw(t, "seed"))
			for range rapid.IntRange(0, 4).Draw(t, "mutations") {
				cmd[rapid.IntRange(1, len(cmd)-1).Draw(t, "byte")] = rapid.Byte().Draw(t, "value")
			}
			if rapid.Bool().Draw(t, "in the current epoch") && len(cmd) > CommandHeaderSize {
				epoch, _ := a.m.Leader()
				binary.BigEndian.PutUint64(cmd[2:], uint64(epoch))
			}
			cmd = cmd[:rapid.IntRange(0, len(cmd)).Draw(t, "cut")]
			x, y := a.apply(logged{index: index, cmd: cmd})[0].Result, b.apply(logged{index: index, cmd: cmd})[0].Result
			if x.Value != y.Value || !bytes.Equal(x.Data, y.Data) {
				t.Fatalf("one says %v, the other %v", x, y)
			}
		}
		a.sameAs(b)
	})
}
