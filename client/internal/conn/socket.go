package conn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"golang.org/x/net/ipv4"

	"github.com/trunkline/trunkline/protocol/udp"
)

// socket is a connected UDP socket in the shape quic-go wants. quic-go addresses every packet, which a
// connected socket refuses, and ends the connection on any error; so the address is dropped and
// "connection refused" becomes a call of refused.
type socket struct {
	*net.UDPConn
	in      *udp.Receiver
	refused func()
}

// openSocket resolves addr and connects a socket to it.
func openSocket(ctx context.Context, addr string, refused func()) (*socket, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "udp", addr)
	if err != nil {
		return nil, fmt.Errorf("open socket: %w", err)
	}
	u, ok := c.(*net.UDPConn)
	if !ok {
		_ = c.Close()
		return nil, fmt.Errorf("open socket: unexpected type %T", c)
	}
	return &socket{UDPConn: u, in: udp.NewReceiver(u), refused: refused}, nil
}

// check reports whether err was a refusal, and passes it on if so.
func (s *socket) check(err error) bool {
	if err == nil || !errors.Is(err, syscall.ECONNREFUSED) {
		return false
	}
	s.refused()
	return true
}

// ReadBatch is how quic-go reads on systems with recvmmsg.
func (s *socket) ReadBatch(ms []ipv4.Message, flags int) (int, error) {
	for {
		n, err := s.in.ReadBatch(ms, flags)
		if !s.check(err) {
			return n, err
		}
	}
}

// ReadMsgUDP is how quic-go reads on systems without.
func (s *socket) ReadMsgUDP(b, oob []byte) (n, oobn, flags int, addr *net.UDPAddr, err error) {
	for {
		n, oobn, flags, addr, err = s.UDPConn.ReadMsgUDP(b, oob)
		if !s.check(err) {
			return n, oobn, flags, addr, err
		}
	}
}

// ReadFrom is how quic-go reads on systems without control messages.
func (s *socket) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, addr, err := s.UDPConn.ReadFrom(b)
		if !s.check(err) {
			return n, addr, err
		}
	}
}

// WriteMsgUDP drops the address. The error of an earlier packet is reported by the next call on the
// socket, so a refusal means that this packet was not sent: it counts as lost, QUIC sends it again.
func (s *socket) WriteMsgUDP(b, oob []byte, _ *net.UDPAddr) (int, int, error) {
	n, oobn, err := s.UDPConn.WriteMsgUDP(b, oob, nil)
	if s.check(err) {
		return len(b), len(oob), nil
	}
	return n, oobn, err
}

// WriteTo drops the address.
func (s *socket) WriteTo(b []byte, _ net.Addr) (int, error) {
	n, err := s.UDPConn.Write(b)
	if s.check(err) {
		return len(b), nil
	}
	return n, err
}
