package seglog

import (
	"github.com/trunkline/trunkline/broker/internal/storefs"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
)

// Cache is a memory budget for the tails of many logs.
type Cache struct{}

// NewCache returns a budget of so many bytes.
func NewCache(bytes int64) *Cache { return &Cache{} }

// Log is one partition's records on disk.
type Log struct{}

// Open opens the log in dir and repairs what a crash left. Everything at and above keepBelow is cut.
func Open(fs storefs.FS, dir string, keepBelow protocol.Offset, opts Options) (*Log, error) {
	return nil, ErrClosed
}

// Create makes an empty log in dir whose first record will have offset start.
func Create(fs storefs.FS, dir string, start protocol.Offset, opts Options) (*Log, error) {
	return nil, ErrClosed
}

// Append writes one whole stamped batch whose base offset is Next.
func (l *Log) Append(b []byte, h batch.Header) error { return ErrClosed }

// Start returns the first readable offset.
func (l *Log) Start() protocol.Offset { return 0 }

// Next returns the offset the next record will get.
func (l *Log) Next() protocol.Offset { return 0 }

// Bytes returns the size of the segments that hold readable records.
func (l *Log) Bytes() int64 { return 0 }

// Read appends whole batches to dst, beginning with the one that contains from.
func (l *Log) Read(from protocol.Offset, maxBytes int, dst []byte) ([]byte, error) {
	return dst, ErrClosed
}

// OffsetForTime returns the first offset whose batch was appended at ms or later, Next if there is none.
func (l *Log) OffsetForTime(ms int64) (protocol.Offset, error) { return 0, ErrClosed }

// RetentionPoint returns where Start should be by age and size. A limit of 0 does not count.
func (l *Log) RetentionPoint(nowMs int64, maxAgeMs, maxBytes uint64) protocol.Offset { return 0 }

// SetStart moves the logical start to o. It does no I/O: files go with DropBelow.
func (l *Log) SetStart(o protocol.Offset) error { return ErrClosed }

// DropBelow deletes the files of whole segments below o and below Start. The caller must have made Start durable
// (in its checkpoint) before: after a crash the log begins at or below that start, never above it.
func (l *Log) DropBelow(o protocol.Offset) error { return ErrClosed }

// View is a frozen range of a log: its batches stay readable until Close, whatever SetStart and DropBelow do.
type View struct{}

// View freezes [Start, Next).
func (l *Log) View() (*View, error) { return nil, ErrClosed }

// Start returns the first offset of the view.
func (v *View) Start() protocol.Offset { return 0 }

// Next returns the offset after the last of the view.
func (v *View) Next() protocol.Offset { return 0 }

// Read is like Log.Read inside the view.
func (v *View) Read(from protocol.Offset, maxBytes int, dst []byte) ([]byte, error) {
	return dst, ErrClosed
}

// Close lets the view's files be deleted again.
func (v *View) Close() {}

// Sync makes everything appended so far durable: data, index and directory.
func (l *Log) Sync() error { return ErrClosed }

// Close waits for readers and closes all files. It does not sync.
func (l *Log) Close() error { return nil }
