package storefs

import (
	"io/fs"
	"os"
)

// Modes of what OS creates: readable by the owner's group, nobody else; records are private.
const (
	fileMode fs.FileMode = 0o640
	dirMode  fs.FileMode = 0o750
)

type osFS struct{}

func (osFS) OpenFile(name string, flag int) (File, error) {
	f, err := os.OpenFile(name, flag, fileMode)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (o osFS) Open(name string) (File, error) { return o.OpenFile(name, os.O_RDONLY) }

func (o osFS) Create(name string) (File, error) {
	return o.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
}

func (osFS) MkdirAll(dir string) error                 { return os.MkdirAll(dir, dirMode) }
func (osFS) Remove(name string) error                  { return os.Remove(name) }
func (osFS) RemoveAll(name string) error               { return os.RemoveAll(name) }
func (osFS) Rename(oldName, newName string) error      { return os.Rename(oldName, newName) }
func (osFS) ReadDir(dir string) ([]fs.DirEntry, error) { return os.ReadDir(dir) }
func (osFS) Stat(name string) (fs.FileInfo, error)     { return os.Stat(name) }

func (osFS) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}

type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

func (f osFile) Datasync() error          { return datasync(f.File) }
func (f osFile) Reserve(size int64) error { return reserve(f.File, size) }

func (f osFile) StartWriteback(off, n int64) error { return startWriteback(f.File, off, n) }
func (f osFile) DropCache(off, n int64) error      { return dropCache(f.File, off, n) }

// lengthen makes f at least size bytes long.
func lengthen(f *os.File, size int64) error {
	st, err := f.Stat()
	if err != nil || (st.Size() >= size && size >= 0) {
		return err
	}
	return f.Truncate(size)
}
