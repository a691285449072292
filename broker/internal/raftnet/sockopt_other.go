//go:build !linux

package raftnet

import (
	"net"
	"time"
)

// setUserTimeout has no equivalent here: a connection to a black hole ends by the read timeout.
func setUserTimeout(*net.TCPConn, time.Duration) {}
