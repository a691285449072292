package engine

import (
	"bytes"

	"github.com/trunkline/trunkline/bench/driver"
	"github.com/trunkline/trunkline/bench/workload"
)

// payloads are the bodies of messages. Which one a message has follows from its number, so that a receiver can tell whether
// it arrived undamaged. Read only, and so for any goroutine.
type payloads [][]byte

func (p payloads) of(producer uint32, seq uint64) []byte {
	return p[(uint64(producer)+seq)%uint64(len(p))][workload.HeaderBytes:]
}

// fill writes the body of a message behind the place of its header.
func (p payloads) fill(m *driver.Message) {
	copy(m.Payload[workload.HeaderBytes:], p.of(m.Producer, m.Seq))
}

// intact reports whether the body is the one that was sent.
func (p payloads) intact(h header, payload []byte) bool {
	return bytes.Equal(payload[workload.HeaderBytes:], p.of(h.producer, h.seq))
}
