package seglog

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"

	"github.com/trunkline/trunkline/protocol"
)

// All, as keepBelow, tells Open to keep every valid batch.
const All = protocol.Offset(math.MaxUint64)

// ErrClosed is returned by every call after Close.
var ErrClosed = errors.New("seglog: log is closed")

// CorruptionError says that bytes which were durable are damaged or missing.
type CorruptionError struct {
	File     string
	Position int64 // in File
	Reason   string
}

// Error implements error.
func (e *CorruptionError) Error() string {
	return fmt.Sprintf("seglog: %s is damaged at byte %d: %s", e.File, e.Position, e.Reason)
}

// Segment returns the first offset of the segment that is damaged; false when File is not one.
func (e *CorruptionError) Segment() (protocol.Offset, bool) {
	return parseFileName(filepath.Base(e.File), logSuffix)
}

// Options tunes a Log. The zero value of a field means its default.
type Options struct {
	// SegmentBytes is the size above which a new segment begins; default 64 MiB, at most 1 GiB. A segment is
	// longer only when a single batch is.
	SegmentBytes int64
	// IndexEveryBytes is the distance between index entries; default 4 KiB.
	IndexEveryBytes int64
	// TailCacheBytes bounds the newest batches this log keeps in memory; default 1 MiB, negative for none. Batches
	// above half of it are not cached.
	TailCacheBytes int
	// Cache, when not nil, is the memory budget this log's tail shares with other logs. Idle logs then give their
	// memory up to busy ones. Default: a cache of its own of TailCacheBytes.
	Cache *Cache
	// WritebackBytes is how much is written before the kernel is asked to begin writing it back; default 1 MiB,
	// negative for never.
	WritebackBytes int64
}

const maxSegmentBytes = 1 << 30

// withDefaults returns o with zero fields replaced.
func (o Options) withDefaults() (Options, error) {
	if o.SegmentBytes == 0 {
		o.SegmentBytes = 64 << 20
	}
	if o.IndexEveryBytes == 0 {
		o.IndexEveryBytes = 4 << 10
	}
	if o.TailCacheBytes == 0 {
		o.TailCacheBytes = 1 << 20
	}
	if o.WritebackBytes == 0 {
		o.WritebackBytes = 1 << 20
	}
	if o.SegmentBytes < 1 || o.SegmentBytes > maxSegmentBytes {
		return o, fmt.Errorf("seglog: SegmentBytes is %d, 1 to %d are allowed", o.SegmentBytes, maxSegmentBytes)
	}
	if o.IndexEveryBytes < 1 {
		return o, fmt.Errorf("seglog: IndexEveryBytes is %d, at least 1 is needed", o.IndexEveryBytes)
	}
	if o.Cache == nil {
		o.Cache = NewCache(int64(max(o.TailCacheBytes, 0)))
	}
	return o, nil
}
