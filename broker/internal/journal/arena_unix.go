//go:build unix

package journal

import (
	"os"

	"golang.org/x/sys/unix"
)

// newMemory maps n bytes. They begin on a page, take no memory before they are touched, and do not count as live heap,
// which would make the garbage collector late.
func newMemory(n int) ([]byte, error) {
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	return b, os.NewSyscallError("mmap", err)
}

func freeMemory(b []byte) error { return os.NewSyscallError("munmap", unix.Munmap(b)) }
