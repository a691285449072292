package storefs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/trunkline/trunkline/broker/internal/failpoint"
)

// FS is the part of the file system that storage packages use. Names are slash-separated paths as package
// os takes them; errors satisfy errors.Is with fs.ErrNotExist and fs.ErrExist.
type FS interface {
	// OpenFile opens name with the flags of package os. A created file has mode 0640.
	OpenFile(name string, flag int) (File, error)
	// Open opens name for reading.
	Open(name string) (File, error)
	// Create opens name for reading and writing, empty, whether it existed or not.
	Create(name string) (File, error)
	MkdirAll(dir string) error
	// Remove deletes one file or empty directory.
	Remove(name string) error
	RemoveAll(name string) error
	// Rename replaces newName, when it exists, in one step.
	Rename(oldName, newName string) error
	// ReadDir lists dir, sorted by name.
	ReadDir(dir string) ([]fs.DirEntry, error)
	Stat(name string) (fs.FileInfo, error)
	// SyncDir makes the names in dir durable.
	SyncDir(dir string) error
}

// File is an open file.
type File interface {
	io.Writer
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Truncate sets the length; new bytes are zero.
	Truncate(size int64) error
	Size() (int64, error)
	// Sync makes bytes and length durable.
	Sync() error
	// Datasync makes the bytes durable, and the length if it is needed to read them back. Times and other
	// attributes may stay behind, which saves the file system's journal a write for bytes that overwrite others.
	Datasync() error
	// Reserve takes disk space for the first size bytes, so that writing them cannot find the disk full, and makes
	// the file that long if it is shorter; new bytes are zero. Where the file system cannot, only the length grows.
	Reserve(size int64) error
	// StartWriteback asks the kernel to begin to write n bytes from off on to the disk, without waiting for
	// them and without any promise. It keeps dirty pages few, so that a later Sync is short.
	StartWriteback(off, n int64) error
	// DropCache asks the kernel to forget what it holds of n bytes from off on and has written back, so that the next
	// read of them comes from the disk. It promises nothing.
	DropCache(off, n int64) error
}

// ReadFile returns all of name, and an error when it is longer than limit bytes.
func ReadFile(fsys FS, name string, limit int64) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, fmt.Errorf("storefs: %s has %d bytes, at most %d are expected", name, size, limit)
	}
	b := make([]byte, size)
	if n, err := f.ReadAt(b, 0); err != nil && (!errors.Is(err, io.EOF) || int64(n) < size) {
		return nil, err
	}
	return b, nil
}

// WriteFileAtomic makes name hold exactly data, durably: after a crash it holds the old bytes or the new ones. It
// writes name + ".tmp" first, which a crash may leave behind.
func WriteFileAtomic(fsys FS, name string, data []byte) error {
	temp := name + ".tmp"
	f, err := fsys.Create(temp)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = fsys.Rename(temp, name)
	}
	if err != nil {
		_ = fsys.Remove(temp) // only tidiness: the next call truncates it
		return err
	}
	failpoint.Hit("afterRenameBeforeDirSync")
	return fsys.SyncDir(filepath.Dir(name))
}
