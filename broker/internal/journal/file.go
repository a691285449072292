package journal

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trunkline/trunkline/broker/internal/failpoint"
	"github.com/trunkline/trunkline/broker/internal/storefs"
)

const (
	fileSuffix  = ".wal"
	sparePrefix = "spare-"
	newPrefix   = "new-" // being prepared

	// fillBytes is how much is filled with zeros in one write. The page cache keeps what one write made in one folio, and a
	// round that dirties 4 KiB of a large folio costs a walk over all of its blocks and counts as all of its bytes.
	fillBytes = 16 << 10
	// writebackBytes is after how many of them the kernel is asked to begin to write; else the sync is one long burst.
	writebackBytes = 1 << 20
	// fillPause is the pause after each paceBytes, so about 8 MB/s: each flush of the disk, those of commits too, waits
	// for what was written before it.
	fillPause = 8 * time.Millisecond
	paceBytes = 64 << 10
)

// file is one file of a WAL, or a spare one.
type file struct {
	id   uint64
	path string
	f    storefs.File
	size int64 // rounds begin below it
	live int64 // bytes of records that are needed; guarded by the index

	pins   atomic.Int32 // reads in progress; taken under the index's lock while a record in the file is live
	dead   atomic.Bool  // no record in it is needed: whoever drops the last pin closes it
	closed sync.Once
}

func (f *file) unpin() {
	if f.pins.Add(-1) == 0 && f.dead.Load() {
		f.close()
	}
}

// retire says that no pin will be taken any more, and reports whether there is none.
func (f *file) retire() bool {
	f.dead.Store(true)
	if f.pins.Load() > 0 {
		return false
	}
	f.close()
	return true
}

// close closes the file, which has nothing left to be written: an error says nothing about what is durable.
func (f *file) close() { f.closed.Do(func() { _ = f.f.Close() }) }

func fileName(dir string, id uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%016x%s", id, fileSuffix))
}

// parseFileName reads the id from NNNN.wal and spare-NNNN.
func parseFileName(name string) (id uint64, spare, ok bool) {
	digits, isFile := strings.CutSuffix(name, fileSuffix)
	if !isFile {
		if digits, spare = strings.CutPrefix(name, sparePrefix); !spare {
			return 0, false, false
		}
	}
	id, err := strconv.ParseUint(digits, 16, 64)
	return id, spare, err == nil && len(digits) == 16
}

// newFile makes a file that is ready for rounds and durable under its name. Every one of its bytes was written
// before, so that overwriting it changes nothing but bytes; unless hurry is closed first: then the rest is only
// reserved, and a sync writes metadata too. Who is in a hurry writes large rounds, which suffer less from that than
// from twice the bytes. Without hurry the file is filled without a pause. stop, when closed, ends a long preparation.
func newFile(
	fs storefs.FS, dir string, h fileHeader, size int64, spare *file, stop, hurry <-chan struct{},
) (*file, error) {
	n := &file{id: h.id, path: fileName(dir, h.id), size: size}
	source := filepath.Join(dir, fmt.Sprintf("%s%016x", newPrefix, h.id))
	flag := os.O_RDWR | os.O_CREATE | os.O_TRUNC
	if spare != nil {
		source, flag, n.size = spare.path, os.O_RDWR, spare.size
	}
	f, err := fs.OpenFile(source, flag)
	if err != nil {
		return nil, err
	}
	n.f = f
	if spare == nil {
		err = fill(f, size, stop, hurry)
	}
	if err == nil {
		_, err = f.WriteAt(h.appendTo(nil), 0)
	}
	if err == nil {
		err = f.Datasync()
	}
	if err == nil {
		err = fs.Rename(source, n.path)
	}
	if err == nil {
		failpoint.Hit("afterRenameBeforeDirSync")
		err = fs.SyncDir(dir)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return n, nil
}

// fill writes zeros over size bytes, or as many as it can before hurry is closed. What is left reads as zeros.
func fill(f storefs.File, size int64, stop, hurry <-chan struct{}) error {
	if err := f.Reserve(size); err != nil {
		return err
	}
	zeros := make([]byte, min(size, fillBytes))
	for off := int64(0); off < size; off += int64(len(zeros)) {
		if hurry != nil && off > 0 && off%paceBytes == 0 {
			select {
			case <-stop:
				return ErrClosed
			case <-hurry:
				return nil
			case <-time.After(fillPause):
			}
		}
		zeros = zeros[:min(int64(len(zeros)), size-off)]
		if _, err := f.WriteAt(zeros, off); err != nil {
			return err
		}
		if end := off + int64(len(zeros)); end%writebackBytes == 0 || end == size {
			begin := (end - 1) / writebackBytes * writebackBytes
			if err := f.StartWriteback(begin, end-begin); err != nil {
				return err
			}
		}
	}
	return nil
}
