package journal

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/trunkline/trunkline/broker/internal/storefs"
)

// ErrClosed is returned by every call after Close.
var ErrClosed = errors.New("journal: closed")

// CorruptionError says that bytes which were durable are damaged or missing. Nothing was changed.
type CorruptionError struct {
	File   string
	Offset int64 // in File
	Reason string
}

// Error implements error.
func (e *CorruptionError) Error() string {
	return fmt.Sprintf("journal: %s is damaged at byte %d: %s; what this broker voted and acknowledged may be lost, so "+
		"it must not go on: leave it stopped, the others serve with one replica less; look at the disk, and start it "+
		"again only if the directory can be brought back as it was when the broker last ran",
		e.File, e.Offset, e.Reason)
}

// Options tunes a Journal. The zero value of a field means its default.
type Options struct {
	// FS is where the files are. Default: storefs.OS.
	FS storefs.FS
	// FileBytes is the size of one file; default 64 MiB, a multiple of 4096, at least 64 KiB. A round that is larger
	// gets a larger file of its own.
	FileBytes int64
	// CacheBytes is how much of its newest rounds each WAL keeps in memory; default 8 MiB, a multiple of 4096, at least
	// 64 KiB. A round above half of it is not kept.
	CacheBytes int
	Log        *slog.Logger
	Registerer prometheus.Registerer // nil: no metrics
}

const (
	minFileBytes  = 64 << 10
	maxFileBytes  = 1 << 30
	minCacheBytes = 64 << 10
	maxWorkers    = 64
)

func (o Options) withDefaults() (Options, error) {
	if o.FS == nil {
		o.FS = storefs.OS
	}
	if o.FileBytes == 0 {
		o.FileBytes = 64 << 20
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = 8 << 20
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.FileBytes < minFileBytes || o.FileBytes > maxFileBytes || o.FileBytes%blockBytes != 0 {
		return o, fmt.Errorf("journal: FileBytes is %d, a multiple of %d from %d to %d is needed",
			o.FileBytes, blockBytes, minFileBytes, maxFileBytes)
	}
	if o.CacheBytes < minCacheBytes || o.CacheBytes%blockBytes != 0 {
		return o, fmt.Errorf("journal: CacheBytes is %d, a multiple of %d from %d is needed",
			o.CacheBytes, blockBytes, minCacheBytes)
	}
	return o, nil
}
