package meta

import (
	"encoding/binary"
	"fmt"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/wire"
)

// An announcement carries leaders between brokers over the liveness connections. Integers are big-endian:
//
//	offset size
//	0      1    type: 1 = leaders
//	1      1    version: 1
//	2      2    count
//	4      28*n u64 topic | u32 partition | u64 leader | u64 epoch
//
// Type and version are never renumbered; a new meaning is a new number.
const (
	announceType    = 1
	announceVersion = 1
	announceHeader  = 4
	announceEntry   = 28
	// MaxAnnounceBytes bounds one announcement.
	MaxAnnounceBytes = 64 << 10
	maxAnnounced     = (MaxAnnounceBytes - announceHeader) / announceEntry
)

// EncodeLeaders returns announcements of at most MaxAnnounceBytes each that together carry all leaders.
func EncodeLeaders(leaders []wire.Leader) [][]byte {
	var out [][]byte
	for len(leaders) > 0 {
		n := min(len(leaders), maxAnnounced)
		b := make([]byte, 0, announceHeader+n*announceEntry)
		b = append(b, announceType, announceVersion)
		b = binary.BigEndian.AppendUint16(b, uint16(n))
		for _, w := range leaders[:n] {
			b = binary.BigEndian.AppendUint64(b, uint64(w.Topic))
			b = binary.BigEndian.AppendUint32(b, uint32(w.Partition))
			b = binary.BigEndian.AppendUint64(b, uint64(w.Leader))
			b = binary.BigEndian.AppendUint64(b, uint64(w.Epoch))
		}
		out = append(out, b)
		leaders = leaders[n:]
	}
	return out
}

// DecodeLeaders reads one announcement.
func DecodeLeaders(b []byte) ([]wire.Leader, error) {
	if len(b) < announceHeader || len(b) > MaxAnnounceBytes {
		return nil, fmt.Errorf("decode leader announcement: %d bytes", len(b))
	}
	if b[0] != announceType || b[1] != announceVersion {
		return nil, fmt.Errorf("decode leader announcement: type %d version %d is unknown", b[0], b[1])
	}
	n := int(binary.BigEndian.Uint16(b[2:]))
	if len(b) != announceHeader+n*announceEntry {
		return nil, fmt.Errorf("decode leader announcement: %d bytes for %d leaders", len(b), n)
	}
	out := make([]wire.Leader, n)
	for i := range out {
		e := b[announceHeader+i*announceEntry:]
		out[i] = wire.Leader{
			Topic:     protocol.TopicID(binary.BigEndian.Uint64(e)),
			Partition: protocol.Partition(binary.BigEndian.Uint32(e[8:])),
			Leader:    protocol.BrokerID(binary.BigEndian.Uint64(e[12:])),
			Epoch:     protocol.Epoch(binary.BigEndian.Uint64(e[20:])),
		}
	}
	return out, nil
}

// Receive applies an announcement that broker from sent. A broker announces only what it leads itself; entries that
// name another leader are ignored.
func (l *Leaders) Receive(from protocol.BrokerID, payload []byte) error {
	batch, err := DecodeLeaders(payload)
	if err != nil {
		return fmt.Errorf("from broker %d: %w", from, err)
	}
	own := batch[:0]
	for _, w := range batch {
		if w.Leader == from {
			own = append(own, w)
		}
	}
	l.ObserveAll(own)
	return nil
}
