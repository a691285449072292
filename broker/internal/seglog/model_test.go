package seglog

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/trunkline/trunkline/broker/internal/storefs"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
)

// modelBatch is one batch as the model remembers it.
type modelBatch struct {
	base, next protocol.Offset
	time       int64
	raw        []byte
}

// machine drives a Log beside the dumb model: a slice of batches. Its owner's checkpoint is the pair (start, next)
// of the last checkpoint action, as the state machine above would keep it.
type machine struct {
	fs      *storefs.Mem
	log     *Log
	opts    Options
	batches []modelBatch // from the first one ever, so also those below start
	start   protocol.Offset
	time    int64

	synced  bounds
	capture capture

	view              *View
	viewStart, viewTo protocol.Offset
}

// bounds is what a checkpoint says.
type bounds struct{ start, next protocol.Offset }

// capture takes what a power cut would leave before the countdown-th operation on the file system from now.
type capture struct {
	countdown int
	seed      uint64
	fs        *storefs.Mem // nil until taken
	synced    bounds       // as of then
}

// seam is the file system that the log sees.
func (m *machine) seam() storefs.FS {
	return storefs.Faulty(m.fs, func(storefs.Op, string) error {
		c := &m.capture
		if c.countdown--; c.countdown == 0 {
			c.fs, c.synced = m.fs.CrashClone(rand.New(rand.NewPCG(c.seed, 1))), m.synced
		}
		return nil
	})
}

func (m *machine) next() protocol.Offset {
	if len(m.batches) == 0 {
		return m.synced.next
	}
	return m.batches[len(m.batches)-1].next
}

// expect returns what a read of [from, limit) has to give.
func (m *machine) expect(from, limit protocol.Offset, maxBytes int) [][]byte {
	var out [][]byte
	size := 0
	for _, b := range m.batches {
		if b.next <= from || b.base >= limit {
			continue
		}
		if size += len(b.raw); size > maxBytes && len(out) > 0 {
			break
		}
		out = append(out, b.raw)
	}
	return out
}

// readFunc is Log.Read or View.Read.
type readFunc func(from protocol.Offset, maxBytes int, dst []byte) ([]byte, error)

// checkRead compares a read with the model. A read may give fewer batches, but one at least.
func (m *machine) checkRead(t *rapid.T, read readFunc, from, limit protocol.Offset, maxBytes int) {
	got, err := read(from, maxBytes, nil)
	if err != nil {
		t.Fatalf("read %d: %v", from, err)
	}
	want := m.expect(from, limit, maxBytes)
	if len(got) == 0 && len(want) > 0 {
		t.Fatalf("read %d gave nothing, %d batches are there", from, len(want))
	}
	for _, w := range want {
		if len(got) == 0 {
			return
		}
		if !bytes.HasPrefix(got, w) {
			t.Fatalf("read %d gave other bytes", from)
		}
		got = got[len(w):]
	}
	if len(got) > 0 {
		t.Fatalf("read %d gave %d bytes too much", from, len(got))
	}
}

func (m *machine) append(t *rapid.T) {
	count := rapid.IntRange(1, 5).Draw(t, "count")
	size := rapid.OneOf(rapid.IntRange(0, 100), rapid.IntRange(0, 3000)).Draw(t, "size")
	m.time += rapid.Int64Range(0, 20).Draw(t, "passed")
	b := batch.NewBuilder(batch.None)
	for i := range count {
		r := batch.Record{}
		if i == 0 {
			r.Value = bytes.Repeat([]byte{byte(m.next())}, size)
		}
		if err := b.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := b.Build(nil, 1, 1, protocol.Sequence(m.next()))
	if err != nil {
		t.Fatal(err)
	}
	batch.Stamp(raw, m.next(), 1, m.time)
	h, err := batch.ParseHeader(raw)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.log.Append(raw, h); err != nil {
		t.Fatal(err)
	}
	m.batches = append(m.batches, modelBatch{h.BaseOffset, h.Next(), m.time, raw})
}

func (m *machine) read(t *rapid.T) {
	from := protocol.Offset(rapid.Uint64Range(uint64(m.start), uint64(m.next())).Draw(t, "from"))
	m.checkRead(t, m.log.Read, from, m.next(), rapid.IntRange(0, 8000).Draw(t, "max"))
}

func (m *machine) readView(t *rapid.T) {
	if m.view == nil {
		v, err := m.log.View()
		if err != nil {
			t.Fatal(err)
		}
		m.view, m.viewStart, m.viewTo = v, m.start, m.next()
	}
	if rapid.IntRange(0, 3).Draw(t, "close") == 0 {
		m.view.Close()
		m.view = nil
		return
	}
	from := protocol.Offset(rapid.Uint64Range(uint64(m.viewStart), uint64(m.viewTo)).Draw(t, "from"))
	m.checkRead(t, m.view.Read, from, m.viewTo, rapid.IntRange(0, 8000).Draw(t, "max"))
}

func (m *machine) setStart(t *rapid.T) {
	o := protocol.Offset(rapid.Uint64Range(0, uint64(m.next())).Draw(t, "start"))
	if err := m.log.SetStart(o); err != nil {
		t.Fatal(err)
	}
	m.start = max(m.start, o)
}

func (m *machine) offsetForTime(t *rapid.T) {
	ms := rapid.Int64Range(0, m.time+1).Draw(t, "time")
	want := m.next()
	for _, b := range m.batches {
		if b.time >= ms && b.next > m.start {
			want = max(b.base, m.start)
			break
		}
	}
	got, err := m.log.OffsetForTime(ms)
	if err != nil || got != want {
		t.Fatalf("OffsetForTime(%d) = %d, %v, want %d", ms, got, err, want)
	}
}

// checkpoint is what the state machine's Sync does.
func (m *machine) checkpoint(t *rapid.T) {
	if err := m.log.Sync(); err != nil {
		t.Fatal(err)
	}
	m.synced = bounds{m.start, m.next()}
	if err := m.log.DropBelow(m.start); err != nil {
		t.Fatal(err)
	}
}

// crash cuts the power: an arbitrary part of what was not synced is lost.
func (m *machine) crash(t *rapid.T) {
	after := m.fs.CrashClone(rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)))
	if err := m.log.Close(); err != nil {
		t.Fatal(err)
	}
	m.fs = after
	m.reopen(t, rapid.Bool().Draw(t, "all"))
}

// crashInside cuts the power in the middle of an append, a checkpoint or an Open.
func (m *machine) crashInside(t *rapid.T) {
	m.capture = capture{countdown: rapid.IntRange(1, 20).Draw(t, "operations"), seed: rapid.Uint64().Draw(t, "seed")}
	before := slices.Clone(m.batches)
	switch rapid.IntRange(0, 2).Draw(t, "action") {
	case 0:
		for range 4 {
			m.append(t)
		}
	case 1:
		m.checkpoint(t)
	case 2:
		m.restart(t)
	}
	if m.capture.fs == nil {
		return
	}
	if err := m.log.Close(); err != nil {
		t.Fatal(err)
	}
	if len(before) > len(m.batches) {
		m.batches = before // Open cut what was still there then
	}
	m.fs, m.synced = m.capture.fs, m.capture.synced
	m.reopen(t, rapid.Bool().Draw(t, "all"))
}

// restart closes the log or kills the process; everything written is still there.
func (m *machine) restart(t *rapid.T) {
	if rapid.Bool().Draw(t, "close") {
		if err := m.log.Close(); err != nil {
			t.Fatal(err)
		}
	}
	m.reopen(t, rapid.Bool().Draw(t, "all"))
}

// reopen opens the log and makes the model agree: with the checkpoint exactly, with All to any end at or above it.
func (m *machine) reopen(t *rapid.T, all bool) {
	keep := m.synced.next
	if all {
		keep = All
	}
	log, err := Open(m.seam(), testDir, keep, m.opts)
	if err != nil {
		t.Fatalf("open, keeping below %d: %v", keep, err)
	}
	m.log, m.view = log, nil
	if next := log.Next(); next < m.synced.next || !all && next != keep || next > m.next() {
		t.Fatalf("opened up to %d; synced %d, appended %d", next, m.synced.next, m.next())
	}
	if log.Start() > m.synced.start {
		t.Fatalf("log begins at %d, the checkpoint says %d", log.Start(), m.synced.start)
	}
	m.batches = slices.DeleteFunc(m.batches, func(b modelBatch) bool { return b.next > log.Next() })
	if m.next() != log.Next() {
		t.Fatalf("log ends at %d, no batch does", log.Next())
	}
	m.start = m.synced.start
	if err := log.SetStart(m.start); err != nil {
		t.Fatal(err)
	}
	for from := m.start; from < m.next(); {
		m.checkRead(t, log.Read, from, m.next(), 4000)
		b, err := log.Read(from, 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		h, err := batch.ParseHeader(b)
		if err != nil {
			t.Fatal(err)
		}
		from = h.Next()
	}
}

// ruinIndex damages some index file, of the open log.
func (m *machine) ruinIndex(t *rapid.T) {
	files, err := listFiles(m.fs, testDir)
	if err != nil {
		t.Fatal(err)
	}
	if len(files.indexes) == 0 {
		t.Skip("no index yet")
	}
	name := fileName(testDir, rapid.SampledFrom(files.indexes).Draw(t, "index"), indexSuffix)
	if rapid.IntRange(0, 3).Draw(t, "remove") == 0 {
		if err := m.fs.Remove(name); err != nil {
			t.Fatal(err)
		}
		return
	}
	b, err := storefs.ReadFile(m.fs, name, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) == 0 {
		t.Skip("empty")
	}
	at := rapid.IntRange(0, len(b)-1).Draw(t, "at")
	if rapid.Bool().Draw(t, "cut") {
		b = b[:at]
	} else {
		b[at] ^= byte(rapid.IntRange(1, 255).Draw(t, "flip"))
	}
	f, err := m.fs.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(b); err != nil {
		t.Fatal(err)
	}
}

func (m *machine) check(t *rapid.T) {
	if m.log.Start() != m.start || m.log.Next() != m.next() {
		t.Fatalf("log is [%d, %d), model is [%d, %d)", m.log.Start(), m.log.Next(), m.start, m.next())
	}
	var least int64 // Bytes counts whole segments, so at least what is readable
	for _, b := range m.batches {
		if b.next > m.start {
			least += int64(len(b.raw))
		}
	}
	if m.log.Bytes() < least {
		t.Fatalf("Bytes is %d, %d can be read", m.log.Bytes(), least)
	}
	if p := m.log.RetentionPoint(m.time, 0, uint64(least)); p < m.start || p > m.next() {
		t.Fatalf("retention point %d is outside of the log", p)
	}
}

func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &machine{fs: storefs.NewMem(), opts: Options{
			SegmentBytes:    rapid.Int64Range(1, 9000).Draw(t, "segment"),
			IndexEveryBytes: rapid.SampledFrom([]int64{1, 300, 4096}).Draw(t, "every"),
			TailCacheBytes:  rapid.SampledFrom([]int{-1, 500, 8000, 1 << 20}).Draw(t, "cache"),
			WritebackBytes:  2000,
		}}
		for _, err := range []error{m.fs.MkdirAll("/data"), m.fs.SyncDir("/")} {
			if err != nil {
				t.Fatal(err)
			}
		}
		start := protocol.Offset(rapid.SampledFrom([]uint64{0, 7, 1 << 40}).Draw(t, "start"))
		m.start, m.synced = start, bounds{start, start}
		log, err := Create(m.seam(), testDir, start, m.opts)
		if err != nil {
			t.Fatal(err)
		}
		m.log = log
		t.Repeat(map[string]func(*rapid.T){
			"":              m.check,
			"append":        m.append,
			"append2":       m.append, // most of the time
			"append3":       m.append,
			"read":          m.read,
			"readView":      m.readView,
			"setStart":      m.setStart,
			"offsetForTime": m.offsetForTime,
			"checkpoint":    m.checkpoint,
			"crash":         m.crash,
			"crashInside":   m.crashInside,
			"restart":       m.restart,
			"ruinIndex":     m.ruinIndex,
		})
	})
}
