package storefs

import "io/fs"

// Op names an operation for a fault hook.
type Op string

// The operations. Opening for any purpose, also Create, is OpOpen.
const (
	OpOpen      Op = "open"
	OpMkdir     Op = "mkdir"
	OpRemove    Op = "remove"
	OpRename    Op = "rename"
	OpReadDir   Op = "readdir"
	OpStat      Op = "stat"
	OpSyncDir   Op = "syncdir"
	OpRead      Op = "read"
	OpWrite     Op = "write"
	OpTruncate  Op = "truncate"
	OpSync      Op = "sync"
	OpDatasync  Op = "datasync"
	OpReserve   Op = "reserve"
	OpWriteback Op = "writeback"
	OpClose     Op = "close"
)

// Faulty is base with faults for tests: hook is asked before each operation and its error, when not nil, is the
// operation's result. A failed write has written the first half of its bytes; everything else that fails did
// nothing, except close, which closes. The hook may be called by several goroutines at once, and may block to model
// a stalled disk.
func Faulty(base FS, hook func(op Op, name string) error) FS {
	return &faultyFS{base: base, hook: hook}
}

type faultyFS struct {
	base FS
	hook func(Op, string) error
}

func (f *faultyFS) open(name string, open func() (File, error)) (File, error) {
	if err := f.hook(OpOpen, name); err != nil {
		return nil, err
	}
	file, err := open()
	if err != nil {
		return nil, err
	}
	return &faultyFile{File: file, name: name, hook: f.hook}, nil
}

func (f *faultyFS) OpenFile(name string, flag int) (File, error) {
	return f.open(name, func() (File, error) { return f.base.OpenFile(name, flag) })
}

func (f *faultyFS) Open(name string) (File, error) {
	return f.open(name, func() (File, error) { return f.base.Open(name) })
}

func (f *faultyFS) Create(name string) (File, error) {
	return f.open(name, func() (File, error) { return f.base.Create(name) })
}

func (f *faultyFS) MkdirAll(dir string) error {
	if err := f.hook(OpMkdir, dir); err != nil {
		return err
	}
	return f.base.MkdirAll(dir)
}

func (f *faultyFS) Remove(name string) error {
	if err := f.hook(OpRemove, name); err != nil {
		return err
	}
	return f.base.Remove(name)
}

func (f *faultyFS) RemoveAll(name string) error {
	if err := f.hook(OpRemove, name); err != nil {
		return err
	}
	return f.base.RemoveAll(name)
}

func (f *faultyFS) Rename(oldName, newName string) error {
	if err := f.hook(OpRename, newName); err != nil {
		return err
	}
	return f.base.Rename(oldName, newName)
}

func (f *faultyFS) ReadDir(dir string) ([]fs.DirEntry, error) {
	if err := f.hook(OpReadDir, dir); err != nil {
		return nil, err
	}
	return f.base.ReadDir(dir)
}

func (f *faultyFS) Stat(name string) (fs.FileInfo, error) {
	if err := f.hook(OpStat, name); err != nil {
		return nil, err
	}
	return f.base.Stat(name)
}

func (f *faultyFS) SyncDir(dir string) error {
	if err := f.hook(OpSyncDir, dir); err != nil {
		return err
	}
	return f.base.SyncDir(dir)
}

type faultyFile struct {
	File
	name string
	hook func(Op, string) error
}

func (f *faultyFile) ReadAt(b []byte, off int64) (int, error) {
	if err := f.hook(OpRead, f.name); err != nil {
		return 0, err
	}
	return f.File.ReadAt(b, off)
}

func (f *faultyFile) Write(b []byte) (int, error) {
	if err := f.hook(OpWrite, f.name); err != nil {
		n, _ := f.File.Write(b[:len(b)/2])
		return n, err
	}
	return f.File.Write(b)
}

func (f *faultyFile) WriteAt(b []byte, off int64) (int, error) {
	if err := f.hook(OpWrite, f.name); err != nil {
		n, _ := f.File.WriteAt(b[:len(b)/2], off)
		return n, err
	}
	return f.File.WriteAt(b, off)
}

func (f *faultyFile) Truncate(size int64) error {
	if err := f.hook(OpTruncate, f.name); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

func (f *faultyFile) Sync() error {
	if err := f.hook(OpSync, f.name); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *faultyFile) Datasync() error {
	if err := f.hook(OpDatasync, f.name); err != nil {
		return err
	}
	return f.File.Datasync()
}

func (f *faultyFile) Reserve(size int64) error {
	if err := f.hook(OpReserve, f.name); err != nil {
		return err
	}
	return f.File.Reserve(size)
}

func (f *faultyFile) StartWriteback(off, n int64) error {
	if err := f.hook(OpWriteback, f.name); err != nil {
		return err
	}
	return f.File.StartWriteback(off, n)
}

func (f *faultyFile) Close() error {
	err := f.File.Close()
	if herr := f.hook(OpClose, f.name); herr != nil {
		return herr
	}
	return err
}
