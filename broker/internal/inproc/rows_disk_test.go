package inproc

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/fsm"
	"github.com/trunkline/trunkline/broker/internal/journal"
	"github.com/trunkline/trunkline/broker/internal/seglog"
	"github.com/trunkline/trunkline/broker/internal/storefs"
)

// of tells whether a file operation is one on a path that contains something.
func of(op storefs.Op, name string, want storefs.Op, contains string) bool {
	return op == want && strings.Contains(name, contains)
}

// failOnce makes the n-th of some operations of a life fail.
func failOnce(n int, errno syscall.Errno, want storefs.Op, contains string) *spy {
	var count atomic.Int32
	return &spy{file: func(_ *life, op storefs.Op, name string) error {
		if of(op, name, want, contains) && count.Add(1) == int32(n) {
			return fmt.Errorf("%s %s: %w", op, name, errno)
		}
		return nil
	}}
}

// failures makes one operation fail on the leader and then on a follower, which must end of it and come back.
func (c *cluster) failures(u *load, want storefs.Op, contains string) {
	c.t.Helper()
	for turn := range 2 {
		u.progress(20)
		l := c.leader()
		if turn == 1 {
			l = c.follower()
		}
		l.spy.Store(failOnce(1+c.random.IntN(3), []syscall.Errno{syscall.EIO, syscall.ENOSPC}[turn], want, contains))
		if want == storefs.OpSync {
			l.compact()
		}
		left := c.bury(l)
		require.Error(c.t, l.cause, "seed %d", c.seed)
		require.True(c.t, errors.Is(l.cause, syscall.EIO) || errors.Is(l.cause, syscall.ENOSPC), "%v", l.cause)
		u.progress(20)
		c.start(l.id, left)
	}
}

// TestRow18FailedSync makes one fsync fail, of the Raft log and of a segment: the broker ends and comes back without what was not
// synced.
func TestRow18FailedSync(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 18, options{})
	u := c.publish(100)
	c.failures(u, storefs.OpDatasync, journalDir)
	c.failures(u, storefs.OpSync, dataDir)
	u.progress(20)
	c.check(u)
}

// TestRow19FailedWrite makes one write to a segment or its index fail after half of its bytes.
func TestRow19FailedWrite(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 19, options{segmentBytes: 8 << 10})
	u := c.publish(100)
	c.failures(u, storefs.OpWrite, ".log")
	c.failures(u, storefs.OpWrite, ".idx")
	u.progress(20)
	c.check(u)
}

// at is one moment of a record's road at which a life may end.
type at struct {
	point    string // of life.pass, or
	op       storefs.Op
	contains string
	leads    bool // only leaders pass it
	syncs    bool // it is passed when the Raft log is compacted
}

// road are the moments, as the points of package failpoint are.
var road = []at{
	{point: "beforePropose", leads: true}, {point: "afterPropose", leads: true},
	{point: "beforeRaftLog"}, {op: storefs.OpWrite, contains: journalDir}, {op: storefs.OpDatasync, contains: journalDir}, {point: "afterRaftLog"},
	{point: "beforeApply"}, {op: storefs.OpWrite, contains: ".log"}, {point: "afterApply"},
	{op: storefs.OpWrite, contains: ".idx"}, {op: storefs.OpOpen, contains: ".log"}, // a new segment
	{point: "beforeSync", syncs: true}, {op: storefs.OpSync, contains: dataDir, syncs: true},
	{op: storefs.OpRename, contains: "checkpoint", syncs: true}, {op: storefs.OpSyncDir, contains: dataDir, syncs: true},
	{point: "afterSync", syncs: true},
}

func (a at) String() string { return fmt.Sprint(a.point, a.op, a.contains) }

// endAt ends a life when it passes the moment for the n-th time.
func endAt(a at, n int, how ending) *spy {
	var count atomic.Int32
	hit := func(l *life) {
		if count.Add(1) == int32(n) {
			l.end(how, nil)
		}
	}
	return &spy{
		point: func(l *life, name string) {
			if name == a.point {
				hit(l)
			}
		},
		file: func(l *life, op storefs.Op, name string) error {
			if a.point == "" && of(op, name, a.op, a.contains) {
				hit(l)
			}
			return nil
		},
	}
}

// TestRow30EveryMoment ends a leader, and then a follower, at every moment of a record's road, by a kill or a power cut.
func TestRow30EveryMoment(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 30, options{segmentBytes: 4 << 10})
	u := c.publish(100)
	for _, a := range road {
		for _, leads := range []bool{true, false} {
			if a.leads && !leads {
				continue
			}
			l := c.leader()
			if !leads {
				l = c.follower()
			}
			how := killed
			if c.random.IntN(2) == 0 {
				how = powerCut(c.random.Uint64())
			}
			l.spy.Store(endAt(a, 1+c.random.IntN(4), how))
			if a.syncs {
				l.compact()
			}
			c.start(l.id, c.bury(l))
		}
	}
	u.progress(40)
	c.check(u)
}

// image is what a power cut would have left of a broker at some moment, and what must be in it.
type image struct {
	disk  *storefs.Mem
	saved uint64 // Raft index that is durable
}

// TestRow23Images opens what power cuts at hundreds of moments would have left of a broker, after more harm to what was never
// vouched for: no index, an empty one, one of garbage, and garbage behind the end of the log.
func TestRow23Images(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 23, options{compactEntries: 50, segmentBytes: 8 << 10})
	const wanted = 200
	var mu sync.Mutex
	var images []image
	random := rand.New(rand.NewPCG(c.seed, 23))
	u := c.publish(100)
	u.progress(20)
	l := c.leader()
	l.spy.Store(&spy{file: func(l *life, op storefs.Op, _ string) error {
		mu.Lock()
		defer mu.Unlock()
		if op != storefs.OpRead && len(images) < wanted && random.IntN(4) == 0 {
			saved := l.m.Applied() // applied here: committed, and so in the Raft log
			images = append(images, image{l.has.disk.CrashClone(random), saved})
		}
		return nil
	}})
	c.eventually("not enough happens on the disk", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(images) == wanted
	})
	c.check(u)
	for i, img := range images {
		harm(t, img.disk, random)
		require.NoError(t, img.open(uint64(l.id)), "seed %d image %d", c.seed, i)
	}
}

// harm damages what a restart must not rely on.
func harm(t *testing.T, disk *storefs.Mem, random *rand.Rand) {
	dir := filepath.Join(dataDir, "p")
	logs, err := disk.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	require.NoError(t, err)
	for _, d := range logs {
		if !d.IsDir() {
			continue
		}
		files, err := disk.ReadDir(filepath.Join(dir, d.Name()))
		require.NoError(t, err)
		for i, f := range files {
			name := filepath.Join(dir, d.Name(), f.Name())
			garbage := make([]byte, random.IntN(5000))
			for j := range garbage {
				garbage[j] = byte(random.Uint32())
			}
			switch last := i == len(files)-1; {
			case strings.HasSuffix(name, ".idx") && random.IntN(3) == 0:
				require.NoError(t, disk.Remove(name))
			case strings.HasSuffix(name, ".idx") && random.IntN(3) == 0:
				overwrite(t, disk, name, 0, garbage)
			case last && random.IntN(2) == 0:
				info, err := disk.Stat(name)
				require.NoError(t, err)
				overwrite(t, disk, name, info.Size(), garbage)
			}
		}
	}
}

// overwrite cuts a file and writes behind the cut.
func overwrite(t *testing.T, disk *storefs.Mem, name string, from int64, b []byte) {
	f, err := disk.OpenFile(name, os.O_RDWR)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(from))
	_, err = f.WriteAt(b, from)
	require.NoError(t, errors.Join(err, f.Sync(), f.Close()))
}

// open opens Raft log and partition as a broker would, and looks for what must be there.
func (i image) open(replica uint64) error {
	j, err := journal.Open(filepath.Join(journalDir, "journal"), 1, journal.Options{FS: i.disk, FileBytes: 256 << 10, CacheBytes: 64 << 10})
	if err != nil {
		return err
	}
	m := fsm.New(fsm.Config{FS: i.disk, Dir: dataDir + "/p", Partition: testTP, Seglog: seglog.Options{SegmentBytes: 8 << 10}})
	applied, err := m.Open(nil)
	if err != nil {
		return errors.Join(err, j.Close())
	}
	snapshot, err := j.GetSnapshot(shard, replica)
	state, serr := j.ReadRaftState(shard, replica, snapshot.Index)
	last := max(snapshot.Index, state.FirstIndex+state.EntryCount-1)
	_, records, rerr := readReplica(m, 100)
	err = errors.Join(err, serr, rerr, m.Close(), j.Close())
	switch {
	case err != nil:
		return err
	case last < i.saved:
		return fmt.Errorf("the Raft log ends at %d, and %d was durable", last, i.saved)
	case applied < snapshot.Index:
		return fmt.Errorf("the partition is at %d, and the Raft log begins behind %d", applied, snapshot.Index)
	case applied > last:
		return fmt.Errorf("the partition is at %d with %d records, and the Raft log ends at %d", applied, len(records), last)
	}
	return nil
}
