package storefs

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// startWriteback queues the dirty pages of the range for writing. File systems that do not know the call
// (some network and FUSE ones) just go without: it is a hint.
func startWriteback(f *os.File, off, n int64) error {
	err := unix.SyncFileRange(int(f.Fd()), off, n, unix.SYNC_FILE_RANGE_WRITE)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EINVAL),
		errors.Is(err, unix.ESPIPE):
		return nil
	}
	return os.NewSyscallError("sync_file_range", err)
}

// dropCache is posix_fadvise.
func dropCache(f *os.File, off, n int64) error {
	return os.NewSyscallError("fadvise", unix.Fadvise(int(f.Fd()), off, n, unix.FADV_DONTNEED))
}

// datasync is fdatasync. A signal does not interrupt it halfway: it is then begun again, which is no retry of a
// failed one.
func datasync(f *os.File) error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if err == nil || !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}

// reserve is fallocate. File systems without it only get the length.
func reserve(f *os.File, size int64) error {
	for size > 0 {
		err := unix.Fallocate(int(f.Fd()), 0, 0, size)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EOPNOTSUPP):
			return lengthen(f, size)
		default:
			return os.NewSyscallError("fallocate", err)
		}
	}
	return lengthen(f, size)
}

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
	return st.Bavail * uint64(st.Bsize), nil
}
