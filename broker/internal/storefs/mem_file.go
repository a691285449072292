package storefs

import (
	"io"
	"io/fs"
	"slices"
	"time"
)

// memFile is an open file of Mem. Removing its name does not disturb it.
type memFile struct {
	m                 *Mem
	n                 *node
	name              string
	writable, appends bool
	pos               int64 // where Write writes; guarded by m.mu
	closed            bool  // guarded by m.mu
}

// check refuses what a file of the operating system would refuse. m.mu is held.
func (f *memFile) check(op string, write bool) error {
	switch {
	case f.closed:
		return memError(op, f.name, fs.ErrClosed)
	case write && !f.writable:
		return memError(op, f.name, fs.ErrPermission)
	case f.n.dir:
		return memError(op, f.name, fs.ErrInvalid)
	}
	return nil
}

// ReadAt implements io.ReaderAt.
func (f *memFile) ReadAt(b []byte, off int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.check("read", false); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, memError("read", f.name, fs.ErrInvalid)
	}
	if off >= int64(len(f.n.data)) {
		return 0, io.EOF
	}
	n := copy(b, f.n.data[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// Write implements io.Writer.
func (f *memFile) Write(b []byte) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.appends {
		f.pos = int64(len(f.n.data))
	}
	n, err := f.writeAt(b, f.pos)
	f.pos += int64(n)
	return n, err
}

// WriteAt implements io.WriterAt.
func (f *memFile) WriteAt(b []byte, off int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	return f.writeAt(b, off)
}

func (f *memFile) writeAt(b []byte, off int64) (int, error) {
	if err := f.check("write", true); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, memError("write", f.name, fs.ErrInvalid)
	}
	if end := int(off) + len(b); end > len(f.n.data) {
		f.n.resize(end)
	}
	f.n.mod = time.Now()
	return copy(f.n.data[off:], b), nil
}

// resize sets the length of data; new bytes are zero.
func (n *node) resize(size int) {
	old := len(n.data)
	if size > old {
		n.data = slices.Grow(n.data, size-old)
	}
	n.data = n.data[:size]
	if size > old {
		clear(n.data[old:])
	}
}

// Truncate implements File.
func (f *memFile) Truncate(size int64) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.check("truncate", true); err != nil {
		return err
	}
	if size < 0 {
		return memError("truncate", f.name, fs.ErrInvalid)
	}
	f.n.resize(int(size))
	return nil
}

// Size implements File.
func (f *memFile) Size() (int64, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.check("stat", false); err != nil {
		return 0, err
	}
	return int64(len(f.n.data)), nil
}

// Sync implements File.
func (f *memFile) Sync() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.check("sync", false); err != nil {
		return err
	}
	f.n.synced = slices.Clone(f.n.data)
	return nil
}

// Datasync implements File; like Sync, but that a power cut never shows the difference.
func (f *memFile) Datasync() error { return f.Sync() }

// Reserve implements File.
func (f *memFile) Reserve(size int64) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.check("reserve", true); err != nil {
		return err
	}
	if size < 0 {
		return memError("reserve", f.name, fs.ErrInvalid)
	}
	if int(size) > len(f.n.data) {
		f.n.resize(int(size))
	}
	return nil
}

// StartWriteback implements File; it changes nothing that a crash could show beyond what CrashClone does anyway.
func (f *memFile) StartWriteback(int64, int64) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	return f.check("writeback", true)
}

// DropCache implements File; there is no cache.
func (f *memFile) DropCache(int64, int64) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	return f.check("fadvise", false)
}

// Close implements io.Closer.
func (f *memFile) Close() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.closed {
		return memError("close", f.name, fs.ErrClosed)
	}
	f.closed = true
	return nil
}
