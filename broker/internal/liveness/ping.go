package liveness

import (
	"encoding/binary"
	"errors"
	"math"
	"time"

	"github.com/trunkline/trunkline/protocol"
)

// The payloads on a Port begin with one byte: what follows. Never renumber.
const (
	framePing    = 1
	framePayload = 2
)

// MaxPeers bounds the brokers of a cluster, and with it the length of a ping.
const MaxPeers = 256

// A ping is, big-endian:
//
//	u8 framePing | u64 seq | 16 boot ID | u8 flags | u16 n | n sights
//	flags: bit 0: my disk stalls, bit 1: it is nearly full, bit 2: I get too little of the processors
//	sight: u64 broker | u32 silence in ms | u32 age in ms | u8 flags (bit 0: ever heard, bit 1: dead)
//	       | u64 head of its boot ID
const (
	pingHeader = 1 + 8 + 16 + 1 + 2
	sightSize  = 8 + 4 + 4 + 1 + 8
)

var errBadPing = errors.New("liveness: malformed ping")

type ping struct {
	seq  uint64
	boot [16]byte
	condition
	sights []sight
}

// sight is how a broker sees another one.
type sight struct {
	broker protocol.BrokerID
	silent time.Duration // since it was heard, or since the clocks were started if that is later
	age    time.Duration // since it was heard, if ever
	heard  bool          // ever
	dead   bool
	boot   uint64 // head of the boot ID that was heard
}

// missing reports whether the broker was not heard for that long.
func (s sight) missing(silent time.Duration) bool { return s.dead || s.silent >= silent }

func bootHead(boot [16]byte) uint64 { return binary.BigEndian.Uint64(boot[:8]) }

func (p *ping) append(dst []byte) []byte {
	dst = append(dst, framePing)
	dst = binary.BigEndian.AppendUint64(dst, p.seq)
	dst = append(dst, p.boot[:]...)
	dst = append(dst, bit(p.stalled, 1)|bit(p.short, 2)|bit(p.starved, 4))
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(p.sights)))
	for _, s := range p.sights {
		dst = binary.BigEndian.AppendUint64(dst, uint64(s.broker))
		dst = binary.BigEndian.AppendUint32(dst, millis(s.silent))
		dst = binary.BigEndian.AppendUint32(dst, millis(s.age))
		dst = append(dst, bit(s.heard, 1)|bit(s.dead, 2))
		dst = binary.BigEndian.AppendUint64(dst, s.boot)
	}
	return dst
}

// parsePing reads what follows and includes the first byte. Bytes after the sights are a later version's and skipped.
func parsePing(b []byte) (ping, error) {
	if len(b) < pingHeader || b[0] != framePing {
		return ping{}, errBadPing
	}
	p := ping{seq: binary.BigEndian.Uint64(b[1:]), condition: condition{stalled: b[25]&1 != 0, short: b[25]&2 != 0, starved: b[25]&4 != 0}}
	copy(p.boot[:], b[9:])
	n := int(binary.BigEndian.Uint16(b[26:]))
	b = b[pingHeader:]
	if n > MaxPeers || len(b) < n*sightSize {
		return ping{}, errBadPing
	}
	p.sights = make([]sight, n)
	for i := range p.sights {
		r := b[i*sightSize:]
		p.sights[i] = sight{
			broker: protocol.BrokerID(binary.BigEndian.Uint64(r)),
			silent: time.Duration(binary.BigEndian.Uint32(r[8:])) * time.Millisecond,
			age:    time.Duration(binary.BigEndian.Uint32(r[12:])) * time.Millisecond,
			heard:  r[16]&1 != 0,
			dead:   r[16]&2 != 0,
			boot:   binary.BigEndian.Uint64(r[17:]),
		}
	}
	return p, nil
}

func millis(d time.Duration) uint32 { return uint32(min(max(d.Milliseconds(), 0), math.MaxUint32)) }

func bit(on bool, mask byte) byte {
	if on {
		return mask
	}
	return 0
}
