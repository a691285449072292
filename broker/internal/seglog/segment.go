package seglog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/trunkline/trunkline/broker/internal/storefs"
	"github.com/trunkline/trunkline/protocol"
)

const (
	logSuffix   = ".log"
	indexSuffix = ".idx"
	nameDigits  = 20
)

// maxOpenSealed bounds the files of sealed segments that a log keeps open between reads.
const maxOpenSealed = 4

// segment is one file of batches. A sealed one never changes, but for what Mend puts right.
type segment struct {
	base protocol.Offset

	next     protocol.Offset // guarded by Log.mu, like the two below
	size     int64
	lastTime int64 // append time of the last batch; meaningless while size is 0

	// pins counts reads in progress. It grows only under Log.mu (read-locked), so under the write lock a 0 stays 0:
	// then the file may be closed or deleted.
	pins atomic.Int32
	used atomic.Uint64 // Log.clock at the last read

	fileMu sync.Mutex
	file   storefs.File // nil until used; guarded by fileMu; the pointed-to file is valid while pinned

	indexMu sync.RWMutex // searching the .idx file, against rewriting it
}

func fileName(dir string, base protocol.Offset, suffix string) string {
	return filepath.Join(dir, fmt.Sprintf("%0*d%s", nameDigits, base, suffix))
}

// parseFileName returns the base offset in a file's name, false for files that are not ours.
func parseFileName(name, suffix string) (protocol.Offset, bool) {
	digits, ok := strings.CutSuffix(name, suffix)
	if !ok || len(digits) != nameDigits {
		return 0, false
	}
	base, err := strconv.ParseUint(digits, 10, 64)
	return protocol.Offset(base), err == nil
}

// open returns the segment's file. The segment is pinned, or active and used by the writer.
func (l *Log) open(s *segment, active bool) (storefs.File, error) {
	s.fileMu.Lock()
	defer s.fileMu.Unlock()
	if s.file != nil {
		return s.file, nil
	}
	flag := os.O_RDONLY
	if active {
		flag = os.O_RDWR // readers and the writer share it
	}
	f, err := l.fs.OpenFile(fileName(l.dir, s.base, logSuffix), flag)
	if errors.Is(err, os.ErrNotExist) {
		return nil, &CorruptionError{fileName(l.dir, s.base, logSuffix), 0, "the file is missing"}
	}
	if err != nil {
		return nil, fmt.Errorf("seglog: open segment: %w", err)
	}
	s.file = f
	l.openFiles.Add(1)
	return f, nil
}

// closeFile closes the segment's file. Nobody uses it: mu is write-locked and the segment not pinned, or the log is
// closing.
func (l *Log) closeFile(s *segment) error {
	s.fileMu.Lock()
	defer s.fileMu.Unlock()
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file = nil
	l.openFiles.Add(-1)
	return err
}

// closeIdleFiles brings the number of open files back to its bound, the longest unused first. mu is write-locked.
func (l *Log) closeIdleFiles() {
	sealed := l.segments[:len(l.segments)-1]
	for l.openFiles.Load() > maxOpenSealed+1 {
		var oldest *segment
		for _, s := range sealed {
			if s.pins.Load() == 0 && s.isOpen() && (oldest == nil || s.used.Load() < oldest.used.Load()) {
				oldest = s
			}
		}
		if oldest == nil {
			return // all in use; the next read comes here again
		}
		_ = l.closeFile(oldest) // nothing was written through it since its fsync
	}
}

func (s *segment) isOpen() bool {
	s.fileMu.Lock()
	defer s.fileMu.Unlock()
	return s.file != nil
}
