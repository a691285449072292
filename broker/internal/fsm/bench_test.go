package fsm

import (
	"testing"

	sm "github.com/lni/dragonboat/v4/statemachine"

	"github.com/trunkline/trunkline/broker/internal/storefs"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
)

// BenchmarkUpdate applies proposals of 16 batches of 16 KiB each, to real files.
func BenchmarkUpdate(b *testing.B) {
	m := New(Config{FS: storefs.OS, Dir: b.TempDir() + "/p", Partition: testPartition})
	if _, err := m.Open(nil); err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	const batches = 16
	builder := batch.NewBuilder(batch.None)
	for builder.Size() < 16<<10 {
		if err := builder.Add(batch.Record{Value: make([]byte, 1000)}); err != nil {
			b.Fatal(err)
		}
	}
	ops := NewOps(0, 1)
	var raw []byte
	seq, index := protocol.Sequence(0), uint64(0)
	entries := make([]sm.Entry, 1)
	for b.Loop() {
		b.StopTimer()
		ops.Reset(0, 1)
		for range batches {
			raw, _ = builder.Build(raw[:0], 1, 0, seq)
			seq += protocol.Sequence(builder.Len())
			ops.Append(raw)
		}
		index++
		entries[0] = sm.Entry{Index: index, Cmd: ops.Bytes()}
		b.SetBytes(int64(ops.Size()))
		b.StartTimer()
		if _, err := m.Update(entries); err != nil {
			b.Fatal(err)
		}
	}
}
