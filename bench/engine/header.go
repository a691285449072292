package engine

import (
	"encoding/binary"
	"time"

	"github.com/trunkline/trunkline/bench/driver"
	"github.com/trunkline/trunkline/bench/workload"
)

// Places in the payload, as drawn in doc.go. All numbers are little-endian.
const (
	runAt      = 0
	producerAt = 4
	seqAt      = 8
	intendedAt = 16
	sentAt     = 24
)

// header is what a message carries for its receiver.
type header struct {
	run      uint32
	producer uint32
	seq      uint64
	intended time.Duration // since the run began
	sent     time.Duration
}

// write puts the header of a message into its payload.
func write(m *driver.Message, run uint32) {
	b := m.Payload[:workload.HeaderBytes]
	binary.LittleEndian.PutUint32(b[runAt:], run)
	binary.LittleEndian.PutUint32(b[producerAt:], m.Producer)
	binary.LittleEndian.PutUint64(b[seqAt:], m.Seq)
	binary.LittleEndian.PutUint64(b[intendedAt:], uint64(m.Intended))
	binary.LittleEndian.PutUint64(b[sentAt:], uint64(m.Sent))
}

// read takes the header from a payload; false if there is no room for one.
func read(b []byte) (header, bool) {
	if len(b) < workload.HeaderBytes {
		return header{}, false
	}
	return header{
		run:      binary.LittleEndian.Uint32(b[runAt:]),
		producer: binary.LittleEndian.Uint32(b[producerAt:]),
		seq:      binary.LittleEndian.Uint64(b[seqAt:]),
		intended: time.Duration(binary.LittleEndian.Uint64(b[intendedAt:])),
		sent:     time.Duration(binary.LittleEndian.Uint64(b[sentAt:])),
	}, true
}
