package udp

import (
	"encoding/binary"
	"net"

	"golang.org/x/sys/unix"
)

// offload switches generic receive offload on and reports whether it is.
func offload(c *net.UDPConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	var refused error
	err = raw.Control(func(fd uintptr) {
		refused = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_GRO, 1)
	})
	return err == nil && refused == nil
}

// segmentSize returns the length of all datagrams in a piece but the last, which may be shorter; 0 if it is one
// datagram.
func segmentSize(control []byte) int {
	for len(control) > 0 {
		h, body, rest, err := unix.ParseOneSocketControlMessage(control)
		if err != nil {
			return 0
		}
		if h.Level == unix.IPPROTO_UDP && h.Type == unix.UDP_GRO && len(body) >= 4 {
			return int(binary.NativeEndian.Uint32(body))
		}
		control = rest
	}
	return 0
}
