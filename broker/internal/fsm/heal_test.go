package fsm

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	sm "github.com/lni/dragonboat/v4/statemachine"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/storefs"
	"github.com/trunkline/trunkline/protocol"
)

// manyBatches returns a Raft log that fills some segments and removes nothing.
func manyBatches() []logged {
	log := []logged{{index: 1, cmd: EpochBegin(1, 1, 1, 1)}}
	for i := range 20 {
		b := NewOps(1, int64(100*i))
		b.Append(makeBatch(1, 0, protocol.Sequence(4*i), 4))
		log = append(log, logged{index: uint64(i + 2), cmd: bytes.Clone(b.Bytes())})
	}
	return log
}

// twins returns two replicas with the same log on disk, the second of which repairs itself with fetch.
func twins(t *testing.T, fetch func(good *Machine) Fetch) (good, other *replica) {
	t.Helper()
	good, log := tell(t, manyBatches())
	good.sync()
	t.Cleanup(func() { closeReplica(t, good) })
	other = &replica{t: t, mem: storefs.NewMem()}
	cfg := testConfig(other.mem)
	cfg.Seglog.TailCacheBytes = -1
	if fetch != nil {
		cfg.Fetch = fetch(good.m)
	}
	other.m = New(cfg)
	_, err := other.m.Open(nil)
	require.NoError(t, err)
	other.replay(log, []int{1})
	other.sync()
	t.Cleanup(func() { closeReplica(t, other) })
	return good, other
}

// asks fetches from a replica as a broker does.
func asks(good *Machine) Fetch {
	return func(_ context.Context, from protocol.Offset, maxBytes int) ([]byte, error) {
		return good.ReadOwn(from, maxBytes, nil)
	}
}

// rot flips a bit in the middle of each sealed segment, or of some, and returns how many.
func (r *replica) rot(only ...int) int {
	r.t.Helper()
	names := r.segments()
	count := 0
	for i, name := range names[:len(names)-1] {
		if len(only) > 0 && !slices.Contains(only, i) {
			continue
		}
		b, err := storefs.ReadFile(r.mem, name, 1<<20)
		if err != nil {
			r.t.Fatalf("%v", err)
		}
		f, err := r.mem.OpenFile(name, os.O_RDWR)
		if err != nil {
			r.t.Fatalf("%v", err)
		}
		at := int64(len(b) - 10)
		if _, err := f.WriteAt([]byte{b[at] ^ 4}, at); err != nil {
			r.t.Fatalf("%v", err)
		}
		_ = f.Close()
		count++
	}
	return count
}

func (r *replica) segments() (names []string) {
	entries, err := r.mem.ReadDir(r.m.logDir(1))
	if err != nil {
		r.t.Fatalf("%v", err)
	}
	for _, e := range entries {
		if filepath.Ext(e.Name()) == ".log" {
			names = append(names, filepath.Join(r.m.logDir(1), e.Name()))
		}
	}
	return names
}

// everything reads all records.
func everything(m *Machine) ([]byte, error) {
	var all []byte
	for at, next := m.Bounds(); at < next; {
		b, err := m.Read(at, 700, nil)
		if err != nil {
			return all, err
		}
		if at, err = endOf(b); err != nil {
			return all, err
		}
		all = append(all, b...)
	}
	return all, nil
}

func TestReadsRepairWhatTheyMeet(t *testing.T) {
	good, other := twins(t, asks)
	want, err := everything(good.m)
	require.NoError(t, err)
	damaged := other.rot()
	require.Greater(t, damaged, 1)
	got, err := everything(other.m)
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.Empty(t, other.m.Damage())
	metrics := other.m.cfg.Metrics
	require.InDelta(t, damaged, testutil.ToFloat64(metrics.found), 0)
	require.InDelta(t, damaged, testutil.ToFloat64(metrics.repaired), 0)
	require.Zero(t, testutil.ToFloat64(metrics.damaged))
	got, err = everything(other.m)
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.InDelta(t, damaged, testutil.ToFloat64(metrics.found), 0)
}

func TestScrubRepairsWhatNobodyReads(t *testing.T) {
	good, other := twins(t, asks)
	damaged := other.rot()
	read := 0
	require.NoError(t, other.m.Scrub(t.Context(), func(n int) error { read += n; return nil }))
	require.GreaterOrEqual(t, int64(read), other.m.log.Load().Bytes()/2)
	require.InDelta(t, damaged, testutil.ToFloat64(other.m.cfg.Metrics.repaired), 0)
	require.NoError(t, good.m.Scrub(t.Context(), func(int) error { return nil }))
	for i, name := range other.segments() {
		a, err := storefs.ReadFile(other.mem, name, 1<<20)
		require.NoError(t, err)
		b, err := storefs.ReadFile(good.mem, good.segments()[i], 1<<20)
		require.NoError(t, err)
		require.Equal(t, b, a)
	}
	stop := errors.New("stop")
	require.ErrorIs(t, other.m.Scrub(t.Context(), func(int) error { return stop }), stop)
}

// TestSnapshotsRepairWhatTheyMeet: damage met by a snapshot stream ended the whole process.
func TestSnapshotsRepairWhatTheyMeet(t *testing.T) {
	good, other := twins(t, asks)
	other.rot()
	other.sameAs(good)
	require.Empty(t, other.m.Damage())

	_, alone := twins(t, nil)
	alone.rot(1)
	frozen, err := alone.m.PrepareSnapshot()
	require.NoError(t, err)
	require.ErrorIs(t, alone.m.SaveSnapshot(frozen, &bytes.Buffer{}, nil), sm.ErrSnapshotStopped)
}

// TestDamageWithoutAReplicaIsTold: nobody can repair it, everything else is served.
func TestDamageWithoutAReplicaIsTold(t *testing.T) {
	good, other := twins(t, nil)
	want, err := everything(good.m)
	require.NoError(t, err)
	other.rot(1)
	got, err := everything(other.m)
	var coded *protocol.Error
	require.ErrorAs(t, err, &coded)
	require.Equal(t, protocol.CodeCorruptLog, coded.Code)
	require.Contains(t, coded.Message, other.segments()[1])
	require.True(t, bytes.HasPrefix(want, got), "what comes before is served")
	require.Len(t, other.m.Damage(), 1)
	require.InDelta(t, 1, testutil.ToFloat64(other.m.cfg.Metrics.damaged), 0)
	_, next := other.m.Bounds()
	_, err = other.m.Read(next-1, 1, nil)
	require.NoError(t, err, "what comes behind is served")
	require.NoError(t, other.m.Close())
	require.Zero(t, testutil.ToFloat64(other.m.cfg.Metrics.damaged))
}

// TestRepairIsTriedAgain: while the other replicas are away a read is told unavailable, and when they are back the damage
// goes without anybody asking.
func TestRepairIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var up atomic.Bool
		var tries atomic.Int32
		good, other := twins(t, func(m *Machine) Fetch {
			return func(ctx context.Context, from protocol.Offset, maxBytes int) ([]byte, error) {
				tries.Add(1)
				if !up.Load() {
					return nil, errors.New("nobody answers")
				}
				return asks(m)(ctx, from, maxBytes)
			}
		})
		other.rot(1)
		for range 3 {
			_, err := everything(other.m)
			require.ErrorIs(t, err, &protocol.Error{Code: protocol.CodeUnavailable})
			require.ErrorContains(t, err, "nobody answers")
		}
		require.EqualValues(t, 1, tries.Load(), "reads do not make the tries more frequent")
		time.Sleep(10 * time.Minute)
		require.Less(t, tries.Load(), int32(20))
		up.Store(true)
		time.Sleep(healRetryMax + time.Second)
		require.Empty(t, other.m.Damage())
		want, err := everything(good.m)
		require.NoError(t, err)
		got, err := everything(other.m)
		require.NoError(t, err)
		require.Equal(t, want, got)
	})
}

// TestTwoDamagedReplicasRepairEachOther: they do not wait for each other, and each gives what it has.
func TestTwoDamagedReplicasRepairEachOther(t *testing.T) {
	var second *Machine
	first, other := twins(t, asks)
	second = other.m
	want, err := everything(first.m)
	require.NoError(t, err)
	first.m.cfg.Fetch = func(_ context.Context, from protocol.Offset, maxBytes int) ([]byte, error) {
		return second.ReadOwn(from, maxBytes, nil)
	}
	last := len(first.segments()) - 2
	first.rot(last)
	other.rot(last - 1)
	for _, m := range []*Machine{first.m, second} {
		require.NoError(t, m.Scrub(t.Context(), func(int) error { return nil }))
		got, err := everything(m)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	first.rot(last)
	other.rot(last)
	_, err = everything(second)
	require.ErrorIs(t, err, &protocol.Error{Code: protocol.CodeCorruptLog})
}

// TestCloseEndsARepair that waits for another replica.
func TestCloseEndsARepair(t *testing.T) {
	asked := make(chan struct{}, 1)
	_, other := twins(t, func(*Machine) Fetch {
		return func(ctx context.Context, _ protocol.Offset, _ int) ([]byte, error) {
			asked <- struct{}{}
			<-ctx.Done()
			return nil, ctx.Err()
		}
	})
	other.rot(1)
	failed := make(chan error, 1)
	go func() {
		_, err := everything(other.m)
		failed <- err
	}()
	select {
	case <-asked:
	case err := <-failed:
		t.Fatalf("nothing was repaired: %v", err)
	}
	require.NoError(t, other.m.Close())
	require.ErrorIs(t, <-failed, ErrClosed)
}

// TestOpenReportsDamage: a damaged end of a sealed segment does not keep a replica from starting, and is repaired.
func TestOpenReportsDamage(t *testing.T) {
	good, other := twins(t, asks)
	name := other.segments()[1]
	require.NoError(t, other.m.Close())
	f, err := other.mem.OpenFile(name, os.O_RDWR)
	require.NoError(t, err)
	size, err := f.Size()
	require.NoError(t, err)
	require.NoError(t, f.Truncate(size/2))
	require.NoError(t, f.Close())
	other.m = New(other.m.cfg)
	_, err = other.m.Open(nil)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return len(other.m.Damage()) == 0 }, 5*time.Second, time.Millisecond)
	want, err := everything(good.m)
	require.NoError(t, err)
	got, err := everything(other.m)
	require.NoError(t, err)
	require.Equal(t, want, got)
}
