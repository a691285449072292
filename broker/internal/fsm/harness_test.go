package fsm

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	sm "github.com/lni/dragonboat/v4/statemachine"
	"go.uber.org/goleak"

	"github.com/trunkline/trunkline/broker/internal/seglog"
	"github.com/trunkline/trunkline/broker/internal/storefs"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testDir = "/partition"

// testConfig has small bounds and small segments, so that a short test meets them.
func testConfig(fs storefs.FS) Config {
	return Config{
		FS: fs, Dir: testDir, Partition: testPartition, SnapshotBytesPerSecond: -1,
		MaxProducers: 4, MaxSubscriptions: 3,
		Seglog: seglog.Options{SegmentBytes: 1500, IndexEveryBytes: 300, TailCacheBytes: 1000},
	}
}

// logged is one entry of the Raft log with what applying it gave.
type logged struct {
	index  uint64
	cmd    []byte
	result sm.Result
	hash   [32]byte
}

// testing.T and rapid.T
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// replica is a machine under test with its disk.
type replica struct {
	t      fataler
	mem    *storefs.Mem
	m      *Machine
	synced uint64 // applied index that must survive a crash
}

func newReplica(t fataler, mem *storefs.Mem) *replica {
	t.Helper()
	r := &replica{t: t, mem: mem}
	r.open(0)
	return r
}

// open opens a new machine on r.mem, which must be exactly at the Raft index want.
func (r *replica) open(want uint64) {
	r.t.Helper()
	r.m = New(testConfig(r.mem))
	applied, err := r.m.Open(nil)
	if err != nil {
		r.t.Fatalf("Open: %v", err)
	}
	if applied != want {
		r.t.Fatalf("Open returned index %d, want %d", applied, want)
	}
	r.synced = want
}

// crash cuts the power. With rng nil nothing unsynced survives, else rng decides.
func (r *replica) crash(rng *rand.Rand) {
	r.t.Helper()
	r.mem = r.mem.CrashClone(rng)
	r.open(r.synced)
}

func (r *replica) sync() {
	r.t.Helper()
	if err := r.m.Sync(); err != nil {
		r.t.Fatalf("Sync: %v", err)
	}
	r.synced = r.m.Applied()
}

// apply applies entries in one Update and checks that their bytes are neither changed nor kept.
func (r *replica) apply(entries ...logged) []sm.Entry {
	r.t.Helper()
	in := make([]sm.Entry, len(entries))
	for i, e := range entries {
		in[i] = sm.Entry{Index: e.index, Cmd: bytes.Clone(e.cmd)}
	}
	out, err := r.m.Update(in)
	if err != nil {
		r.t.Fatalf("Update: %v", err)
	}
	for i := range in {
		if !bytes.Equal(in[i].Cmd, entries[i].cmd) {
			r.t.Fatalf("Update changed the command of entry %d", in[i].Index)
		}
		for j := range in[i].Cmd {
			in[i].Cmd[j] = 0xEE
		}
	}
	return out
}

// replay applies what log has beyond the machine's index, in batches of the given sizes in turn, and checks that it gives
// what it gave before.
func (r *replica) replay(log []logged, sizes []int) {
	r.t.Helper()
	at := 0
	for at < len(log) && log[at].index <= r.m.Applied() {
		at++
	}
	for i := 0; at < len(log); i++ {
		n := min(1+sizes[i%len(sizes)], len(log)-at)
		for j, e := range r.apply(log[at : at+n]...) {
			want := log[at+j]
			if e.Result.Value != want.result.Value || !bytes.Equal(e.Result.Data, want.result.Data) {
				r.t.Fatalf("entry %d gave %v again, first %v", e.Index, e.Result, want.result)
			}
		}
		at += n
		if _, hash := r.m.Hash(); hash != log[at-1].hash {
			r.t.Fatalf("another hash at entry %d", log[at-1].index)
		}
	}
}

// check compares everything a replica tells with the model.
func (r *replica) check(want *model) {
	r.t.Helper()
	start, next := r.m.Bounds()
	if start != want.start || next != want.next() {
		r.t.Fatalf("bounds are [%d, %d), want [%d, %d)", start, next, want.start, want.next())
	}
	epoch, leader := r.m.Leader()
	if epoch != want.epoch || leader != want.leader {
		r.t.Fatalf("epoch %d of %d, want %d of %d", epoch, leader, want.epoch, want.leader)
	}
	cursors := r.m.Cursors()
	if len(cursors) != len(want.cursors) {
		r.t.Fatalf("%d cursors, want %d", len(cursors), len(want.cursors))
	}
	for name, c := range want.cursors {
		if got, ok := r.m.Cursor(name); !ok || got != c || cursors[name] != c {
			r.t.Fatalf("cursor %s is %v, want %v", name, got, c)
		}
	}
	for id := range allProducers() {
		epoch, seq, ok := r.m.Producer(id)
		p, known := want.producers[id]
		if ok != known || ok && (epoch != p.epoch || int(seq) != len(p.offsets)) {
			r.t.Fatalf("producer %s is %d %d %v, want %+v", id, epoch, seq, ok, p)
		}
	}
	if err := checkRecords(r.m, want); err != nil {
		r.t.Fatalf("%v", err)
	}
}

// checkRecords reads the whole log and compares each record with the model.
func checkRecords(m *Machine, want *model) error {
	var buf []byte
	for at := want.start; at < want.next(); {
		var err error
		if buf, err = m.Read(at, 700, buf[:0]); err != nil {
			return fmt.Errorf("reading at %d: %w", at, err)
		}
		if len(buf) == 0 {
			return fmt.Errorf("nothing read at %d of %d", at, want.next())
		}
		for rest := buf; len(rest) > 0; {
			var b []byte
			if b, rest, err = batch.Split(rest); err != nil {
				return err
			}
			h, err := batch.Check(b, protocol.MaxBatchBytesLimit)
			if err != nil {
				return err
			}
			for i := range int(h.Count) {
				o := h.BaseOffset + protocol.Offset(i)
				seq := h.BaseSequence + protocol.Sequence(i)
				got := modelRecord{h.Producer, h.ProducerEpoch, seq, h.BaseOffset, h.Epoch, h.AppendTime}
				if o >= want.next() || got != want.records[o] {
					return fmt.Errorf("record %d is %+v", o, got)
				}
			}
			if h.Next() <= at {
				return fmt.Errorf("batch [%d, %d) read at %d", h.BaseOffset, h.Next(), at)
			}
			at = h.Next()
		}
	}
	if b, err := m.Read(want.next(), 1, nil); err != nil || len(b) != 0 {
		return fmt.Errorf("reading at the end: %d bytes, %w", len(b), err)
	}
	_, err := m.Read(want.next()+1, 1, nil)
	if !errors.Is(err, protocol.ErrOffsetOutOfRange) {
		return fmt.Errorf("reading above the end: %w", err)
	}
	if want.start > 0 {
		if _, err = m.Read(want.start-1, 1, nil); !errors.Is(err, protocol.ErrOffsetOutOfRange) {
			return fmt.Errorf("reading below the start: %w", err)
		}
	}
	return nil
}

// snapshot returns the stream that r sends at this moment.
func (r *replica) snapshot() []byte {
	r.t.Helper()
	frozen, err := r.m.PrepareSnapshot()
	if err != nil {
		r.t.Fatalf("PrepareSnapshot: %v", err)
	}
	var out bytes.Buffer
	if err := r.m.SaveSnapshot(frozen, &out, nil); err != nil {
		r.t.Fatalf("SaveSnapshot: %v", err)
	}
	return out.Bytes()
}

func (r *replica) recover(stream []byte) {
	r.t.Helper()
	if err := r.m.RecoverFromSnapshot(bytes.NewReader(stream), nil); err != nil {
		r.t.Fatalf("RecoverFromSnapshot: %v", err)
	}
	r.synced = r.m.Applied()
}

// sameAs checks that two replicas at the same index are the same, by hash and by the bytes they would send.
func (r *replica) sameAs(other *replica) {
	r.t.Helper()
	a, ah := r.m.Hash()
	b, bh := other.m.Hash()
	if a != b || ah != bh {
		r.t.Fatalf("index %d hash %x, other index %d hash %x", a, ah, b, bh)
	}
	if !bytes.Equal(r.snapshot(), other.snapshot()) {
		r.t.Fatalf("snapshots at index %d differ", a)
	}
}

// allProducers are the producers of the tests: anonymous ones, and named ones.
func allProducers() map[protocol.ProducerID]bool {
	all := map[protocol.ProducerID]bool{}
	for i := range protocol.ProducerID(6) {
		all[i+1], all[protocol.NamedProducerBit|(i+1)] = true, true
	}
	return all
}

func closeReplica(t testing.TB, r *replica) {
	t.Helper()
	if err := r.m.Close(); err != nil {
		t.Fatal(err)
	}
}
