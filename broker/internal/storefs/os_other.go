//go:build unix && !linux

package storefs

import (
	"os"

	"golang.org/x/sys/unix"
)

// startWriteback has no counterpart outside Linux.
func startWriteback(*os.File, int64, int64) error { return nil }

// dropCache has no counterpart everywhere.
func dropCache(*os.File, int64, int64) error { return nil }

// datasync has no counterpart everywhere; Sync promises more.
func datasync(f *os.File) error { return f.Sync() }

// reserve has no counterpart outside Linux.
func reserve(f *os.File, size int64) error { return lengthen(f, size) }

// TotalBytes returns the size of the file system that holds dir.
func TotalBytes(dir string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return st.Blocks * uint64(st.Bsize), nil
}

// FreeBytes returns how many bytes an ordinary user may still write to the file system that holds dir.
func FreeBytes(dir string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return uint64(st.Bavail) * uint64(st.Bsize), nil
}
