package seglog

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/trunkline/trunkline/broker/internal/storefs"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
)

// follow reads from o until done is set and everything was read, checking order and CRCs. Falling behind Start is
// fine: it goes on there.
func follow(read readFunc, start, next func() protocol.Offset, done *atomic.Bool, maxBytes int) error {
	buf := make([]byte, 0, maxBytes+scratchBytes)
	for o := start(); ; {
		last := done.Load()
		b, err := read(o, maxBytes, buf)
		switch {
		case errors.Is(err, protocol.ErrOffsetOutOfRange) && o < start():
			o = start()
			continue
		case err != nil:
			return fmt.Errorf("at %d: %w", o, err)
		case len(b) == 0 && last && o == next():
			return nil
		}
		for len(b) > 0 {
			first, rest, err := batch.Split(b)
			if err != nil {
				return err
			}
			h, err := batch.Check(first, protocol.MaxBatchBytesLimit)
			if err != nil {
				return err
			}
			if h.BaseOffset > o || h.Next() <= o {
				return fmt.Errorf("read %d to %d instead of %d", h.BaseOffset, h.Next(), o)
			}
			o, b = h.Next(), rest
		}
	}
}

// TestReadersBesideTheWriter runs readers of the tail, of the disk, of views and of the time index while the writer
// appends, syncs, moves the start and deletes files, with so small a memory budget that chunks are taken away all
// the time.
func TestReadersBesideTheWriter(t *testing.T) {
	cache := NewCache(40_000)
	opts := Options{SegmentBytes: 20_000, IndexEveryBytes: 1000, TailCacheBytes: 30_000, Cache: cache,
		WritebackBytes: 5000}
	dir := t.TempDir()
	var logs []*Log
	for i := range 2 {
		l, err := Create(storefs.OS, filepath.Join(dir, fmt.Sprint(i)), 0, opts)
		require.NoError(t, err)
		defer l.Close()
		logs = append(logs, l)
	}
	var raws [][]byte // built beforehand: building takes longer than appending
	for i := range 300 {
		raws = append(raws, buildBatch(t, 0, 1+i%7, i*5, 0))
	}
	var group errgroup.Group
	for _, l := range logs {
		var done atomic.Bool
		group.Go(func() error { defer done.Store(true); return writeAll(l, raws, 1000) })
		for _, step := range []int{0, 3000, 50_000} {
			group.Go(func() error { return follow(l.Read, l.Start, l.Next, &done, step) })
		}
		group.Go(func() error {
			for !done.Load() {
				v, err := l.View()
				if err != nil {
					return err
				}
				if err := follow(v.Read, v.Start, v.Next, &viewDone, 5000); err != nil {
					return fmt.Errorf("view: %w", err)
				}
				v.Close()
				if _, err := l.OffsetForTime(int64(v.Next() / 2)); err != nil {
					return err
				}
				l.RetentionPoint(int64(v.Next()), 100, 0)
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	require.LessOrEqual(t, cache.Used(), int64(40_000))
	for _, l := range logs {
		require.NoError(t, l.Close())
	}
	require.Zero(t, cache.Used())
}

var viewDone = func() (b atomic.Bool) { b.Store(true); return }()

// writeAll appends n batches and keeps the last 3 segments or so.
func writeAll(l *Log, raws [][]byte, n int) error {
	for i := range n {
		raw := append([]byte(nil), raws[i%len(raws)]...)
		batch.Stamp(raw, l.Next(), 1, int64(i))
		h, err := batch.ParseHeader(raw)
		if err != nil {
			return err
		}
		if err := l.Append(raw, h); err != nil {
			return err
		}
		if i%100 != 99 {
			continue
		}
		if err := l.SetStart(l.RetentionPoint(0, 0, 60_000)); err != nil {
			return err
		}
		if err := l.Sync(); err != nil {
			return err
		}
		if err := l.DropBelow(l.Start()); err != nil {
			return err
		}
	}
	return nil
}

// TestCloseBesideReaders checks that Close waits for reads and that later ones fail cleanly.
func TestCloseBesideReaders(t *testing.T) {
	for range 20 {
		l := twelve(t, newDir(t), noCache)
		var readers sync.WaitGroup
		var started sync.WaitGroup
		for i := range 4 {
			started.Add(1)
			readers.Go(func() {
				for first := true; ; first = false {
					_, err := l.Read(protocol.Offset(i*30), 5000, nil)
					if first {
						started.Done()
					}
					if err != nil {
						assert.ErrorIs(t, err, ErrClosed)
						return
					}
				}
			})
		}
		started.Wait()
		require.NoError(t, l.Close())
		readers.Wait()
	}
}
