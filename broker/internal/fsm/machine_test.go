package fsm

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	sm "github.com/lni/dragonboat/v4/statemachine"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"github.com/trunkline/trunkline/broker/internal/seglog"
	"github.com/trunkline/trunkline/broker/internal/storefs"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
)

// story returns a Raft log that uses everything: epochs, producers, cursors, retention.
func story() []logged {
	var log []logged
	add := func(cmd []byte) { log = append(log, logged{index: uint64(len(log) + 1), cmd: cmd}) }
	add(EpochBegin(1, 1, 1, 1))
	for i := range 12 {
		b := NewOps(protocol.Epoch(1+i/6), int64(100*i))
		if i == 6 {
			add(EpochBegin(2, 2, 1, 1))
		}
		b.Append(makeBatch(1, 0, protocol.Sequence(4*i), 4))
		b.Append(makeBatch(protocol.NamedProducerBit|2, 1, protocol.Sequence(2*i), 2))
		b.CursorOpen("a", 0)
		b.CursorActivate("a")
		b.CursorAck("a", protocol.Activation(i+1), protocol.Offset(5*i))
		b.SetStart(protocol.Offset(4 * i))
		add(bytes.Clone(b.Bytes()))
	}
	return log
}

// tell applies log to a fresh replica and fills in results and hashes.
func tell(t fataler, log []logged) (*replica, []logged) {
	r := newReplica(t, storefs.NewMem())
	for i := range log {
		log[i].result = r.apply(log[i])[0].Result
		_, log[i].hash = r.m.Hash()
	}
	return r, log
}

func TestDeterminism(t *testing.T) {
	a, log := tell(t, story())
	b := newReplica(t, storefs.NewMem())
	b.replay(log, []int{3, 0, 7})
	a.sameAs(b)
	for i := range log {
		require.Equal(t, ValueOK, log[i].result.Value, "entry %d", i)
		for op := range len(log[i].result.Data) / opResultSize {
			require.Zero(t, ParseResult(log[i].result.Data, op).Code)
		}
	}
	closeReplica(t, a)
	closeReplica(t, b)
}

func TestHashCoversPayload(t *testing.T) {
	commit := func(value byte) [32]byte {
		r := newReplica(t, storefs.NewMem())
		defer closeReplica(t, r)
		b := NewOps(0, 1)
		b.Append(makeBatch(1, 0, 0, 2))
		if value != 0 {
			cmd := bytes.Clone(makeBatch(1, 0, 0, 2))
			cmd = bytes.ReplaceAll(cmd, []byte{1, 1, 1}, []byte{1, value, 1})
			b.Reset(0, 1)
			b.Append(resealed(cmd))
		}
		res := r.apply(logged{index: 1, cmd: b.Bytes()})[0].Result
		require.Zero(t, ParseResult(res.Data, 0).Code)
		_, hash := r.m.Hash()
		return hash
	}
	require.Equal(t, commit(0), commit(0))
	require.NotEqual(t, commit(0), commit(7))
}

func TestNotOpenAndClosed(t *testing.T) {
	r := &replica{t: t, mem: storefs.NewMem(), m: New(testConfig(storefs.NewMem()))}
	check := func() {
		_, err := r.m.Read(0, 1, nil)
		require.ErrorIs(t, err, ErrClosed)
		_, err = r.m.OffsetForTime(0)
		require.ErrorIs(t, err, ErrClosed)
		_, err = r.m.Lookup(StatusQuery{})
		require.ErrorIs(t, err, ErrClosed)
		_, err = r.m.Update(nil)
		require.ErrorIs(t, err, ErrClosed)
		_, err = r.m.PrepareSnapshot()
		require.ErrorIs(t, err, ErrClosed)
		require.ErrorIs(t, r.m.Sync(), ErrClosed)
		require.ErrorIs(t, r.m.RecoverFromSnapshot(nil, nil), ErrClosed)
		require.Zero(t, r.m.LogBytes())
		require.Zero(t, r.m.RetentionPoint(1, 1, 1))
		require.Empty(t, r.m.Cursors())
	}
	check()
	start, next := r.m.Bounds()
	require.Zero(t, start+next)
	stopped := make(chan struct{})
	close(stopped)
	_, err := r.m.Open(stopped)
	require.ErrorIs(t, err, sm.ErrOpenStopped)
	_, err = r.m.Open(nil)
	require.NoError(t, err)
	_, err = r.m.Open(nil)
	require.Error(t, err)
	closeReplica(t, r)
	closeReplica(t, r)
	check()
	<-r.m.Appended()
	_, err = r.m.Open(nil)
	require.Error(t, err)
}

// TestReady: until a machine has opened its log and applied again what was committed, what it tells is too little.
func TestReady(t *testing.T) {
	r, log := tell(t, story())
	r.mem = r.mem.CrashClone(nil)
	r.m = New(testConfig(r.mem))
	last := log[len(log)-1].index
	r.m.ReplaysTo(last)
	require.ErrorIs(t, r.m.Ready(), ErrClosed)
	_, err := r.m.Open(nil)
	require.NoError(t, err)
	require.Less(t, r.m.Applied(), last)
	require.ErrorIs(t, r.m.Ready(), ErrReplaying)
	r.replay(log[:len(log)-1], []int{3})
	require.ErrorIs(t, r.m.Ready(), ErrReplaying)
	r.replay(log, []int{1})
	require.NoError(t, r.m.Ready())
	closeReplica(t, r)
	require.ErrorIs(t, r.m.Ready(), ErrClosed)
}

func TestLookup(t *testing.T) {
	r, log := tell(t, story())
	defer closeReplica(t, r)
	got, err := r.m.Lookup(StatusQuery{})
	require.NoError(t, err)
	last := log[len(log)-1]
	require.Equal(t, Status{Applied: last.index, Hash: last.hash, Epoch: 2, Leader: 2, Start: 44, Next: 72}, got)
	_, err = r.m.Lookup("anything else")
	require.Error(t, err)
	var size uint64
	for _, e := range log {
		size += uint64(len(e.cmd))
	}
	require.Equal(t, size, r.m.AppliedBytes())
}

func TestFatalEntries(t *testing.T) {
	r, log := tell(t, story()[:2])
	_, err := r.m.Update([]sm.Entry{{Index: log[1].index, Cmd: log[1].cmd}})
	require.ErrorContains(t, err, "at or below the applied index 2")
	again, _ := tell(t, story()[:1])
	_, err = again.m.Update([]sm.Entry{{Index: 9, Cmd: []byte{2, 1}}})
	require.ErrorIs(t, err, ErrNewerCommand)
	require.ErrorIs(t, again.m.Sync(), ErrNewerCommand, "a failure is final")
	closeReplica(t, r)
	closeReplica(t, again)
}

func TestAppended(t *testing.T) {
	r, log := tell(t, story()[:2])
	defer closeReplica(t, r)
	ch := r.m.Appended()
	require.Equal(t, ch, r.m.Appended(), "shared by all who wait")
	claim := logged{index: 3, cmd: EpochBegin(5, 1, 1, 1)}
	r.apply(claim)
	select {
	case <-ch:
		t.Fatal("woken though nothing was appended")
	default:
	}
	b := NewOps(2, 1)
	b.Append(makeBatch(1, 0, 4, 1))
	r.apply(logged{index: 4, cmd: b.Bytes()})
	<-ch
	select {
	case <-r.m.Appended():
		t.Fatal("a new wait is over at once")
	default:
	}
	_ = log
}

// TestAppendedLosesNoWakeUp has readers that follow the log to its end while it grows.
func TestAppendedLosesNoWakeUp(t *testing.T) {
	const batches = 300
	r := newReplica(t, storefs.NewMem())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				ch := r.m.Appended()
				if _, next := r.m.Bounds(); next >= batches {
					return
				}
				<-ch
			}
		})
	}
	for i := range batches {
		b := NewOps(0, 1)
		b.Append(makeBatch(1, 0, protocol.Sequence(i), 1))
		r.apply(logged{index: uint64(i + 1), cmd: b.Bytes()})
	}
	wg.Wait()
	closeReplica(t, r)
}

func TestUpdateAllocations(t *testing.T) {
	r := newReplica(t, storefs.NewMem())
	defer closeReplica(t, r)
	const perCommand = 16
	index, seq := uint64(0), protocol.Sequence(0)
	entries := make([]sm.Entry, 1)
	b := NewOps(0, 1)
	next := func() {
		b.Reset(0, 1)
		for range perCommand {
			b.Append(makeBatch(1, 0, seq, 1))
			seq++
		}
		index++
		entries[0] = sm.Entry{Index: index, Cmd: b.Bytes()}
	}
	building := testing.AllocsPerRun(100, next)
	both := testing.AllocsPerRun(100, func() {
		next()
		if _, err := r.m.Update(entries); err != nil {
			t.Fatal(err)
		}
	})
	t.Logf("%.1f allocations for each command of %d batches", both-building, perCommand)
	require.LessOrEqual(t, both-building, float64(perCommand), "Update must not allocate for each batch")
}

func TestRetentionAndTime(t *testing.T) {
	r, _ := tell(t, story())
	defer closeReplica(t, r)
	before := r.m.LogBytes()
	o, err := r.m.OffsetForTime(1000)
	require.NoError(t, err)
	require.EqualValues(t, 60, o)
	o, err = r.m.OffsetForTime(5000)
	require.NoError(t, err)
	require.EqualValues(t, 72, o)
	point := r.m.RetentionPoint(5000, 1, 0)
	require.Greater(t, point, protocol.Offset(44))

	files := func() int {
		entries, err := r.mem.ReadDir(r.m.logDir(1))
		require.NoError(t, err)
		return len(entries)
	}
	b := NewOps(2, 1)
	b.SetStart(point)
	r.apply(logged{index: 100, cmd: b.Bytes()})
	had := files()
	require.Less(t, r.m.LogBytes(), before)
	start, _ := r.m.Bounds()
	require.Equal(t, point, start)
	_, err = r.m.Read(point-1, 1, nil)
	require.ErrorIs(t, err, protocol.ErrOffsetOutOfRange)
	r.sync()
	require.Less(t, files(), had, "segments go with the checkpoint")
	r.crash(nil)
	start, _ = r.m.Bounds()
	require.Equal(t, point, start)
}

func TestSnapshotThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		m := &Machine{cfg: Config{SnapshotBytesPerSecond: 1 << 20}.withDefaults()}
		moment := &frozenState{}
		w := m.throttled(moment, io.Discard, nil)
		_, err := w.Write(make([]byte, 5<<20))
		require.NoError(t, err)
		require.InDelta(t, 5, time.Since(began).Seconds(), 0.1)

		stopc := make(chan struct{})
		m.cfg.SnapshotBytesPerSecond = 1
		w = m.throttled(moment, io.Discard, stopc)
		time.AfterFunc(time.Minute, func() { close(stopc) })
		began = time.Now()
		_, err = w.Write(make([]byte, 5<<20))
		require.ErrorIs(t, err, sm.ErrSnapshotStopped)
		require.InDelta(t, 60, time.Since(began).Seconds(), 0.1)

		m.cfg.SnapshotBytesPerSecond = 4 << 20
		gentle := rate.NewLimiter(1<<20, ThrottlePiece)
		m.cfg.Gentle = func() *rate.Limiter {
			if time.Since(began) < 2*time.Second {
				return gentle
			}
			return nil // from now on it is in a hurry
		}
		w, began = m.throttled(moment, io.Discard, nil), time.Now()
		_, err = w.Write(make([]byte, 6<<20))
		require.NoError(t, err)
		require.InDelta(t, 2+1, time.Since(began).Seconds(), 0.2)

		// 1.5 MiB a second are applied meanwhile: twice as much is sent, not what is gentle.
		m.cfg.Gentle = func() *rate.Limiter { return gentle }
		w, began = m.throttled(moment, io.Discard, nil), time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		var applying sync.WaitGroup
		applying.Go(func() {
			for ; ctx.Err() == nil; time.Sleep(10 * time.Millisecond) {
				m.appliedBytes.Add(15 << 10)
			}
		})
		_, err = w.Write(make([]byte, 12<<20))
		cancel()
		applying.Wait()
		require.NoError(t, err)
		require.InDelta(t, 4, time.Since(began).Seconds(), 0.2)
	})
}

func TestSaveSnapshotEnds(t *testing.T) {
	r, _ := tell(t, story())
	stopped := make(chan struct{})
	close(stopped)
	frozen, err := r.m.PrepareSnapshot()
	require.NoError(t, err)
	require.ErrorIs(t, r.m.SaveSnapshot(frozen, io.Discard, stopped), sm.ErrSnapshotStopped)
	require.Error(t, r.m.SaveSnapshot("no state", io.Discard, nil))

	frozen, err = r.m.PrepareSnapshot()
	require.NoError(t, err)
	err = r.m.SaveSnapshot(frozen, failingWriter{}, nil)
	require.Equal(t, sm.ErrSnapshotStreaming, err, "the stream's error goes through as it is")

	frozen, err = r.m.PrepareSnapshot()
	require.NoError(t, err)
	closeReplica(t, r)
	require.ErrorIs(t, r.m.SaveSnapshot(frozen, io.Discard, nil), sm.ErrSnapshotStopped)
	require.Zero(t, testutil.ToFloat64(r.m.cfg.Metrics.sent), "none was sent whole")
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, sm.ErrSnapshotStreaming }

func TestRecoverStopped(t *testing.T) {
	source, _ := tell(t, story())
	r, log := tell(t, story()[:4])
	stopped := make(chan struct{})
	close(stopped)
	err := r.m.RecoverFromSnapshot(bytes.NewReader(source.snapshot()), stopped)
	require.Equal(t, sm.ErrSnapshotStopped, err)
	_, hash := r.m.Hash()
	require.Equal(t, log[3].hash, hash, "nothing has changed")
	require.Zero(t, testutil.ToFloat64(r.m.cfg.Metrics.installed))
	r.recover(source.snapshot())
	r.sameAs(source)
	require.EqualValues(t, 1, testutil.ToFloat64(r.m.cfg.Metrics.installed))
	require.EqualValues(t, 3, testutil.ToFloat64(source.m.cfg.Metrics.sent), "two to r, one to compare with")
	closeReplica(t, source)
	closeReplica(t, r)
}

func TestRecoverEmptyLog(t *testing.T) {
	source, _ := tell(t, story())
	b := NewOps(2, 1)
	b.SetStart(72)
	source.apply(logged{index: 100, cmd: b.Bytes()})
	r, _ := tell(t, story()[:4])
	r.recover(source.snapshot())
	r.sameAs(source)
	r.crash(nil)
	r.sameAs(source)
	start, next := r.m.Bounds()
	require.Equal(t, start, next)
	closeReplica(t, source)
	closeReplica(t, r)
}

// TestDamagedStream changes bytes all over a stream. Not one change may be taken, and after a crash the old state is there.
func TestDamagedStream(t *testing.T) {
	source, _ := tell(t, story())
	stream := source.snapshot()
	r, log := tell(t, story()[:4])
	r.sync()
	for at := 0; at < len(stream); at += 7 {
		bad := bytes.Clone(stream)
		bad[at] ^= 0x10
		err := r.m.RecoverFromSnapshot(bytes.NewReader(bad), nil)
		var corrupt *seglog.CorruptionError
		require.ErrorAs(t, err, &corrupt, "byte %d", at)
		require.Equal(t, streamName, corrupt.File)
		require.Error(t, r.m.Sync(), "a failure is final")
		r.crash(nil)
		_, hash := r.m.Hash()
		require.Equal(t, log[3].hash, hash)
	}
	closeReplica(t, source)
	closeReplica(t, r)
}

// TestIncompleteStream leaves whole batches out of a stream whose parts are all intact.
func TestIncompleteStream(t *testing.T) {
	source, _ := tell(t, story())
	defer closeReplica(t, source)
	stream := source.snapshot()
	head, err := checkpointLength(stream, snapshotMagic)
	require.NoError(t, err)
	mark := stream[len(stream)-4:]
	var batches [][]byte
	for rest := stream[head : len(stream)-4]; len(rest) > 0; {
		var b []byte
		b, rest, err = batch.Split(rest)
		require.NoError(t, err)
		batches = append(batches, b)
	}
	for skip := range batches {
		short := bytes.Clone(stream[:head])
		for i, b := range batches {
			if i != skip {
				short = append(short, b...)
			}
		}
		r := newReplica(t, storefs.NewMem())
		var corrupt *seglog.CorruptionError
		err := r.m.RecoverFromSnapshot(bytes.NewReader(append(short, mark...)), nil)
		require.ErrorAs(t, err, &corrupt, "without batch %d of %d", skip, len(batches))
		closeReplica(t, r)
	}
}

// TestOldFilesGo checks that no generation and no segment is left behind once nobody needs it.
func TestOldFilesGo(t *testing.T) {
	source, log := tell(t, story())
	r := newReplica(t, storefs.NewMem())
	names := func(dir string) (names []string) {
		entries, err := r.mem.ReadDir(dir)
		require.NoError(t, err)
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return names
	}
	r.replay(log[:8], []int{1})
	r.recover(source.snapshot())
	require.Equal(t, []string{"checkpoint", "log.00000002"}, names(testDir))

	require.NoError(t, r.mem.MkdirAll(testDir+"/log.00000001"))
	require.NoError(t, r.mem.MkdirAll(testDir+"/log.00000003"))
	closeReplica(t, r)
	r.open(r.m.Applied())
	require.Equal(t, []string{"checkpoint", "log.00000002"}, names(testDir))

	frozen, err := r.m.PrepareSnapshot()
	require.NoError(t, err)
	b := NewOps(2, 1)
	b.SetStart(72)
	r.apply(logged{index: 100, cmd: b.Bytes()})
	r.sync()
	held := len(names(r.m.logDir(2)))
	require.NoError(t, r.m.SaveSnapshot(frozen, io.Discard, nil))
	r.sync()
	require.Less(t, len(names(r.m.logDir(2))), held, "the snapshot held the segments, and lets go of them")
	closeReplica(t, r)
	closeReplica(t, source)
}

func TestOpenRefusesDamage(t *testing.T) {
	r, _ := tell(t, story())
	closeReplica(t, r)
	path := r.m.checkpointPath()
	good, err := storefs.ReadFile(r.mem, path, 1<<20)
	require.NoError(t, err)
	write := func(b []byte) { require.NoError(t, storefs.WriteFileAtomic(r.mem, path, b)) }
	open := func(change func(*Config)) error {
		cfg := testConfig(r.mem)
		change(&cfg)
		_, err := New(cfg).Open(nil)
		return err
	}
	var corrupt *seglog.CorruptionError

	bad := bytes.Clone(good)
	bad[100] ^= 1
	write(bad)
	require.ErrorAs(t, open(func(*Config) {}), &corrupt)
	require.Equal(t, path, corrupt.File)
	write(good)

	err = open(func(c *Config) { c.Partition.Partition++ })
	require.ErrorContains(t, err, "belongs to partition 5/2, not 5/3")

	ahead := r.m.st
	ahead.next++ // vouches for a record that is not there
	ahead.producers, ahead.cursors = newProducerTable(1), newCursorTable(1)
	write(appendCheckpoint(nil, checkpointMagic, testPartition, 1, &ahead))
	require.ErrorAs(t, open(func(*Config) {}), &corrupt)

	write(good)
	require.NoError(t, r.mem.RemoveAll(r.m.logDir(1)))
	require.Error(t, open(func(*Config) {}), "the log is gone")
}

// TestReadersBesideEverything runs readers beside updates, snapshots received, and Close; for the race detector.
func TestReadersBesideEverything(t *testing.T) {
	source, log := tell(t, story())
	stream := source.snapshot()
	r := newReplica(t, storefs.NewMem())
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() { readUntil(ctx, t, r.m) })
	}
	for range 5 {
		for _, e := range log[:6] {
			r.apply(logged{index: r.m.Applied() + e.index, cmd: e.cmd})
		}
		r.sync()
		r.recover(stream)
	}
	closeReplica(t, r)
	cancel()
	wg.Wait()
	closeReplica(t, source)
}

// TestReadFollowsTheLog has the log replaced, and then closed, between the moment a reader gets it and its read.
func TestReadFollowsTheLog(t *testing.T) {
	source, _ := tell(t, story())
	defer closeReplica(t, source)
	r := newReplica(t, storefs.NewMem())
	calls := 0
	err := r.m.withLog(func(l *seglog.Log) error {
		if calls++; calls == 1 {
			r.recover(source.snapshot())
		}
		_, err := l.Read(60, 1, nil)
		return err
	})
	require.NoError(t, err)
	require.Equal(t, 2, calls)
	err = r.m.withLog(func(l *seglog.Log) error {
		closeReplica(t, r)
		_, err := l.Read(60, 1, nil)
		return err
	})
	require.ErrorIs(t, err, ErrClosed)
}

func readUntil(ctx context.Context, t *testing.T, m *Machine) {
	var buf []byte
	for {
		start, next := m.Bounds()
		if start > next {
			t.Errorf("bounds [%d, %d)", start, next)
		}
		var err error
		buf, err = m.Read(start, 1000, buf[:0])
		closed := errors.Is(err, ErrClosed)
		if err != nil && !closed && !errors.Is(err, protocol.ErrOffsetOutOfRange) {
			t.Errorf("Read: %v", err)
		}
		_, _ = m.OffsetForTime(500)
		_, _ = m.Lookup(StatusQuery{})
		m.Leader()
		m.Producer(1)
		m.Cursors()
		m.LogBytes()
		m.RetentionPoint(1000, 1, 1)
		if ctx.Err() != nil {
			return
		}
		if closed {
			<-m.Appended()
		}
	}
}

func TestOperatingSystemFiles(t *testing.T) {
	cfg := testConfig(storefs.OS)
	cfg.Dir = t.TempDir() + "/5/2"
	require.NoError(t, os.MkdirAll(t.TempDir()+"/5", 0o750))
	source, log := tell(t, story())
	m := New(cfg)
	_, err := m.Open(nil)
	require.NoError(t, err)
	r := &replica{t: t, m: m}
	r.replay(log, []int{2})
	r.sameAs(source)
	require.NoError(t, m.Close())
	r.m = New(cfg)
	applied, err := r.m.Open(nil)
	require.NoError(t, err)
	require.Equal(t, log[len(log)-1].index, applied)
	r.recover(source.snapshot())
	r.sameAs(source)
	closeReplica(t, r)
	closeReplica(t, source)
}
