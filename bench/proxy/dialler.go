package proxy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// DialledBy returns which of some processes has a TCP connection from one IPv4 address of this machine to another; 0: none of them.
// It reads /proc, so the processes must be of this user, or this one of root, and in this network namespace.
func DialledBy(from, to netip.AddrPort, pids []int) (int, error) {
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return 0, fmt.Errorf("connections: %w", err)
	}
	const localField, remoteField, inodeField = 1, 2, 9
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		if len(fields) > inodeField && fields[localField] == procAddr(from) && fields[remoteField] == procAddr(to) {
			return holder("socket:["+fields[inodeField]+"]", pids)
		}
	}
	return 0, nil
}

// holder returns which process has an open file.
func holder(file string, pids []int) (int, error) {
	for _, pid := range pids {
		dir := filepath.Join("/proc", strconv.Itoa(pid), "fd")
		fds, err := os.ReadDir(dir)
		if errors.Is(err, os.ErrNotExist) {
			continue // it has ended
		}
		if err != nil {
			return 0, fmt.Errorf("open files of pid %d: %w", pid, err)
		}
		for _, fd := range fds {
			if name, err := os.Readlink(filepath.Join(dir, fd.Name())); err == nil && name == file {
				return pid, nil
			}
		}
	}
	return 0, nil
}

// procAddr writes an address as /proc/net/tcp does: the bytes of the address as one number of this machine, in hexadecimal.
func procAddr(a netip.AddrPort) string {
	ip := a.Addr().Unmap().As4()
	return fmt.Sprintf("%08X:%04X", binary.NativeEndian.Uint32(ip[:]), a.Port())
}
