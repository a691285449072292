package fsm

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	sm "github.com/lni/dragonboat/v4/statemachine"
	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/storefs"
)

// The tests of this file cut the power, or make the disk fail, before the n-th file operation of a call, for every n.

var errDisk = errors.New("the disk failed")

// watched is a disk whose operations are counted while counting, with something done before the n-th.
type watched struct {
	mem    *storefs.Mem
	before func() error // nil: not counting
	at     int
	count  int
}

func (w *watched) fs() storefs.FS {
	return storefs.Faulty(w.mem, func(storefs.Op, string) error {
		if w.before == nil {
			return nil
		}
		if w.count++; w.count == w.at {
			return w.before()
		}
		return nil
	})
}

// eachPoint calls try for n = 1, 2, 3... until it says that the call under test had fewer operations.
func eachPoint(t *testing.T, try func(t *testing.T, n int) (more bool)) {
	t.Helper()
	points := 0
	for try(t, points+1) {
		points++
	}
	require.Greater(t, points, 3, "the call has file operations")
}

// halfway returns a replica on a watched disk after half of the story, checkpointed after a quarter.
func halfway(t *testing.T, w *watched) (*replica, []logged) {
	_, log := tell(t, story())
	w.mem = storefs.NewMem()
	r := &replica{t: t, mem: w.mem}
	r.m = New(testConfig(w.fs()))
	_, err := r.m.Open(nil)
	require.NoError(t, err)
	r.replay(log[:4], []int{1})
	r.sync()
	r.replay(log[:9], []int{1})
	return r, log
}

// reopenAndFinish opens what a crash left, which must be one of the states before and after the call, and goes on to the
// end of the story.
func reopenAndFinish(t *testing.T, disk *storefs.Mem, log []logged, indexes ...uint64) {
	t.Helper()
	r := &replica{t: t, mem: disk, m: New(testConfig(disk))}
	applied, err := r.m.Open(nil)
	require.NoError(t, err)
	require.Contains(t, indexes, applied)
	r.replay(log, []int{2})
	closeReplica(t, r)
}

func crashDuring(t *testing.T, call func(r *replica, stream []byte) error, indexes ...uint64) {
	source, _ := tell(t, story()[:11])
	stream := source.snapshot()
	for seed := range uint64(4) {
		var rng *rand.Rand // the first time nothing unsynced survives
		if seed > 0 {
			rng = rand.New(rand.NewPCG(seed, seed))
		}
		eachPoint(t, func(t *testing.T, n int) bool {
			w := &watched{at: n}
			r, log := halfway(t, w)
			var disk *storefs.Mem
			w.before = func() error {
				disk = w.mem.CrashClone(rng)
				return nil
			}
			require.NoError(t, call(r, stream))
			if disk == nil {
				return false
			}
			reopenAndFinish(t, disk, log, indexes...)
			return true
		})
	}
}

func TestCrashDuringSync(t *testing.T) {
	crashDuring(t, func(r *replica, _ []byte) error { return r.m.Sync() }, 4, 9)
}

func TestCrashDuringClose(t *testing.T) {
	crashDuring(t, func(r *replica, _ []byte) error { return r.m.Close() }, 4, 9)
}

func TestCrashDuringRecover(t *testing.T) {
	crashDuring(t, func(r *replica, stream []byte) error {
		return r.m.RecoverFromSnapshot(bytes.NewReader(stream), nil)
	}, 4, 11)
}

func TestCrashDuringUpdate(t *testing.T) {
	_, log := tell(t, story())
	crashDuring(t, func(r *replica, _ []byte) error {
		for _, e := range log[9:] {
			if _, err := r.m.Update([]sm.Entry{{Index: e.index, Cmd: e.cmd}}); err != nil {
				return err
			}
		}
		return nil
	}, 4)
}

// TestCrashDuringOpen opens a directory that has an old generation and more log than the checkpoint vouches for.
func TestCrashDuringOpen(t *testing.T) {
	source, _ := tell(t, story()[:6])
	for seed := range uint64(3) {
		eachPoint(t, func(t *testing.T, n int) bool {
			w := &watched{at: n}
			r, log := halfway(t, w)
			require.NoError(t, r.m.RecoverFromSnapshot(bytes.NewReader(source.snapshot()), nil))
			r.replay(log, []int{4})
			require.NoError(t, w.mem.MkdirAll(r.m.logDir(1)))
			var disk *storefs.Mem
			rng := rand.New(rand.NewPCG(seed, seed))
			w.mem = w.mem.CrashClone(rng)
			w.before = func() error {
				disk = w.mem.CrashClone(rng)
				return nil
			}
			again := New(testConfig(w.fs()))
			applied, err := again.Open(nil)
			require.NoError(t, err)
			require.EqualValues(t, 6, applied)
			if disk == nil {
				return false
			}
			reopenAndFinish(t, disk, log, 6)
			return true
		})
	}
}

// failDuring makes each operation fail in turn. The call may hide the failure of an operation that does not matter, but
// after an error nothing more is written, and what is on the disk is a state from before or after.
func failDuring(t *testing.T, call func(r *replica, stream []byte) error, indexes ...uint64) {
	source, _ := tell(t, story()[:11])
	stream := source.snapshot()
	eachPoint(t, func(t *testing.T, n int) bool {
		w := &watched{at: n}
		r, log := halfway(t, w)
		failed := false
		w.before = func() error {
			failed = true
			return errDisk
		}
		err := call(r, stream)
		w.before = nil
		if !failed {
			require.NoError(t, err)
			return false
		}
		if err != nil {
			require.ErrorIs(t, err, errDisk)
			_, err = r.m.Update([]sm.Entry{{Index: 50, Cmd: EpochBegin(9, 9, 9, 9)}})
			require.ErrorIs(t, err, errDisk, "a failure is final")
			require.ErrorIs(t, r.m.Sync(), errDisk)
		}
		reopenAndFinish(t, w.mem.CrashClone(nil), log, indexes...)
		return true
	})
}

func TestDiskFailsDuringSync(t *testing.T) {
	failDuring(t, func(r *replica, _ []byte) error { return r.m.Sync() }, 4, 9)
}

func TestDiskFailsDuringRecover(t *testing.T) {
	failDuring(t, func(r *replica, stream []byte) error {
		return r.m.RecoverFromSnapshot(bytes.NewReader(stream), nil)
	}, 4, 11)
}

func TestDiskFailsDuringUpdate(t *testing.T) {
	_, log := tell(t, story())
	failDuring(t, func(r *replica, _ []byte) error {
		for _, e := range log[9:] {
			if _, err := r.m.Update([]sm.Entry{{Index: e.index, Cmd: e.cmd}}); err != nil {
				return err
			}
		}
		return nil
	}, 4)
}
