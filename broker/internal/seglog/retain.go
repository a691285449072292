package seglog

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"

	"github.com/trunkline/trunkline/protocol"
)

// SetStart moves the logical start to o; a start below the present one changes nothing. It does no I/O and forgets
// nothing that a crash could ask for: the files go with DropBelow.
func (l *Log) SetStart(o protocol.Offset) error {
	l.writer.Lock()
	defer l.writer.Unlock()
	if l.closed {
		return ErrClosed
	}
	if o > l.Next() {
		return fmt.Errorf("seglog: start %d is above the end of the log, %d", o, l.Next())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if o > l.Start() {
		l.start.Store(uint64(o))
		l.countBytes()
	}
	return nil
}

// countBytes computes bytes anew. mu is write-locked.
func (l *Log) countBytes() {
	var sum int64
	for _, s := range l.segments {
		if s.next > l.Start() {
			sum += s.size
		}
	}
	l.bytes.Store(sum)
}

// DropBelow deletes the files of sealed segments that end at or below o and Start, oldest first, until it meets one
// that a View or a read in progress needs; the next call goes on there.
//
// Call it when a checkpoint that holds a start of at least o is durable, never before: after a crash Open is given
// that checkpoint's end as keepBelow, and a log whose files begin above it could not be told from one that has lost
// files.
func (l *Log) DropBelow(o protocol.Offset) error {
	l.writer.Lock()
	defer l.writer.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	for {
		s := l.detachBelow(o)
		if s == nil {
			return nil
		}
		if err := l.deleteFiles(s.base); err != nil {
			return l.fail("drop segment", err)
		}
	}
}

// detachBelow takes the first segment out of the log if it may go.
func (l *Log) detachBelow(o protocol.Offset) *segment {
	l.mu.Lock()
	defer l.mu.Unlock()
	bound := min(o, l.Start())
	for _, v := range l.views {
		bound = min(bound, v.start)
	}
	s := l.segments[0]
	if s == l.active() || s.next > bound || s.pins.Load() > 0 {
		return nil
	}
	_ = l.closeFile(s) // it is being deleted
	l.segments = slices.Delete(l.segments, 0, 1)
	return s
}

// deleteFiles removes a segment for good before it returns, so that after a crash no later segment can be gone while
// this one is back.
func (l *Log) deleteFiles(base protocol.Offset) error {
	for _, suffix := range []string{logSuffix, indexSuffix} {
		err := l.fs.Remove(fileName(l.dir, base, suffix))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return l.fs.SyncDir(l.dir)
}

// RetentionPoint returns where Start should be: behind the sealed segments, oldest first, whose last batch is older
// than maxAgeMs, or without which the log still has maxBytes. A limit of 0 does not count. The active segment
// stays.
func (l *Log) RetentionPoint(nowMs int64, maxAgeMs, maxBytes uint64) protocol.Offset {
	l.mu.RLock()
	defer l.mu.RUnlock()
	point, left := l.Start(), l.Bytes()
	oldest := int64(math.MinInt64) // append times below it are too old
	if maxAgeMs > 0 && maxAgeMs <= math.MaxInt64 {
		oldest = max(nowMs, 0) - int64(maxAgeMs)
	}
	for _, s := range l.segments[:len(l.segments)-1] {
		if s.next <= point {
			continue
		}
		tooOld := s.lastTime < oldest
		tooMany := maxBytes > 0 && uint64(left-s.size) >= maxBytes
		if !tooOld && !tooMany {
			break
		}
		point, left = s.next, left-s.size
	}
	return point
}

// OffsetForTime returns the first offset whose batch was appended at ms or later, Next if there is none, and Start
// if that would be below it. Append times must not go back.
func (l *Log) OffsetForTime(ms int64) (protocol.Offset, error) {
	l.life.RLock()
	defer l.life.RUnlock()
	if l.closed {
		return 0, ErrClosed
	}
	l.mu.RLock()
	start, next := l.Start(), l.Next()
	s := l.segmentOfTime(ms)
	if s == nil {
		l.mu.RUnlock()
		return next, nil
	}
	t := l.target(s, key{time: ms, byTime: true})
	l.mu.RUnlock()
	defer t.seg.pins.Add(-1)
	f, err := l.open(t.seg, t.active)
	if err != nil {
		return 0, err
	}
	l.boundFiles()
	_, h, ok, err := l.locate(f, &t, make([]byte, scratchBytes))
	if err != nil {
		return 0, err
	}
	if !ok {
		return max(start, t.next), nil
	}
	return max(start, h.BaseOffset), nil
}

// segmentOfTime returns the first readable segment with a batch appended at ms or later. mu is read-locked.
func (l *Log) segmentOfTime(ms int64) *segment {
	for _, s := range l.segments {
		if s.next > l.Start() && s.size > 0 && s.lastTime >= ms {
			return s
		}
	}
	return nil
}
