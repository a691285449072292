//go:build !linux

package udp

import "net"

// offload has no equivalent here.
func offload(*net.UDPConn) bool { return false }

func segmentSize([]byte) int { return 0 }
