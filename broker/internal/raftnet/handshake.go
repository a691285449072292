package raftnet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/trunkline/trunkline/protocol"
)

// kind says what a connection is for. Never renumber.
type kind uint8

const (
	kindRaft     kind = 1
	kindSnapshot kind = 2
	kindLiveness kind = 3
	kindProbe    kind = 4
	kindFetch    kind = 5
	kindJoin     kind = 6
)

const kindFetchName = "fetch" // in metrics

// lane tells the Raft connections of one peer apart. Never renumber.
type lane uint8

const (
	laneUrgent   lane = 0
	laneBulk     lane = 1
	laneLiveness lane = 2 // not on the wire; the third link of a peer
	lanes             = 3
)

func (l lane) String() string { return [...]string{"urgent", "bulk", "liveness"}[l] }

const (
	helloMagic   = 0x54524b52 // "TRKR"
	helloVersion = 2
	helloFixed   = 4 + 2 + 1 + 1 + 2 + 2 + 8 + 8 + 8 + 16 + 16 + 1
	maxReason    = 512
	maxAddr      = 255
	maxHello     = helloFixed + maxAddr + maxReason
)

// hello is the one message of the handshake. The dialer sends it first; the listener answers with its own, whose
// code is 0 if the connection is accepted.
type hello struct {
	kind    kind
	lane    lane
	code    RejectCode
	meant   protocol.BrokerID // by the dialer: whom it wants; 0 is anybody
	version uint16
	PeerHello
	reason string
}

var errBadHello = errors.New("malformed handshake")

func (h *hello) append(dst []byte) []byte {
	addr := h.Addr[:min(len(h.Addr), maxAddr)]
	reason := h.reason[:min(len(h.reason), maxReason)]
	dst = binary.BigEndian.AppendUint16(dst, uint16(helloFixed+len(addr)+len(reason)))
	dst = binary.BigEndian.AppendUint32(dst, helloMagic)
	dst = binary.BigEndian.AppendUint16(dst, h.version)
	dst = append(dst, byte(h.kind), byte(h.lane))
	dst = binary.BigEndian.AppendUint16(dst, uint16(h.code))
	dst = append(dst, byte(h.Levels.Lowest), byte(h.Levels.Highest))
	dst = binary.BigEndian.AppendUint64(dst, h.ClusterID)
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.Broker))
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.meant))
	dst = append(dst, h.BootID[:]...)
	dst = append(dst, h.DirID[:]...)
	dst = append(dst, byte(len(addr)))
	dst = append(dst, addr...)
	return append(dst, reason...)
}

// parseHello reads the body after the length. Fields behind the version are only read if the version is ours: the
// first six bytes never change.
func parseHello(b []byte) (hello, error) {
	if len(b) < helloFixed || binary.BigEndian.Uint32(b) != helloMagic {
		return hello{}, errBadHello
	}
	h := hello{version: binary.BigEndian.Uint16(b[4:])}
	if h.version != helloVersion {
		return h, nil
	}
	h.kind, h.lane = kind(b[6]), lane(b[7])
	h.code = RejectCode(binary.BigEndian.Uint16(b[8:]))
	h.Levels = protocol.Levels{Lowest: protocol.Level(b[10]), Highest: protocol.Level(b[11])}
	h.ClusterID = binary.BigEndian.Uint64(b[12:])
	h.Broker = protocol.BrokerID(binary.BigEndian.Uint64(b[20:]))
	h.meant = protocol.BrokerID(binary.BigEndian.Uint64(b[28:]))
	copy(h.BootID[:], b[36:])
	copy(h.DirID[:], b[52:])
	n := int(b[helloFixed-1])
	if len(b) < helloFixed+n {
		return hello{}, errBadHello
	}
	h.Addr = string(b[helloFixed : helloFixed+n])
	h.reason = string(b[helloFixed+n:])
	return h, nil
}

func readHello(r io.Reader) (hello, error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return hello{}, fmt.Errorf("read handshake: %w", err)
	}
	n := int(binary.BigEndian.Uint16(head[:]))
	if n > maxHello {
		return hello{}, errBadHello
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return hello{}, fmt.Errorf("read handshake: %w", err)
	}
	return parseHello(b)
}

func writeHello(w io.Writer, h hello) error {
	h.version = helloVersion
	if _, err := w.Write(h.append(nil)); err != nil {
		return fmt.Errorf("write handshake: %w", err)
	}
	return nil
}

// me is this broker's own part of a handshake.
func (n *Network) me() PeerHello {
	return PeerHello{
		ClusterID: n.cfg.ClusterID, Broker: n.cfg.Self, BootID: n.cfg.BootID, DirID: n.cfg.DirID, Addr: n.cfg.Addr,
		Levels: n.cfg.Levels,
	}
}
