package fsm

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/trunkline/trunkline/protocol"
)

// commandVersion is the layout of commands. A replica that meets a higher one stops (ErrNewerCommand): were it to skip
// the command, it would silently hold another state than the replicas that know it.
const commandVersion = 1

// The kinds of commands. Never renumber.
const (
	kindEpochBegin = 1
	kindOps        = 2
)

// The operations inside a kindOps command. Never renumber; a new one needs a new commandVersion.
const (
	opAppend         = 1
	opProducerOpen   = 2
	opCursorOpen     = 3
	opCursorActivate = 4
	opCursorAck      = 5
	opCursorDelete   = 6
	opSetStart       = 7
)

const (
	// CommandHeaderSize is the size of a command without operations.
	CommandHeaderSize = 18
	// OpHeaderSize is what one operation takes beside its payload.
	OpHeaderSize = 5
	// MaxOps bounds the operations of one command; a command with more is refused whole.
	MaxOps = 1 << 16

	epochBeginSize   = CommandHeaderSize + 16
	producerOpenSize = 12
	cursorOpenFixed  = 8  // then the name
	cursorAckFixed   = 16 // then the name
	setStartSize     = 8
)

// ErrNewerCommand is returned by Update for a command of a version this binary does not know.
var ErrNewerCommand = errors.New("fsm: command of a newer version, upgrade this broker")

// errMalformed is why a command is refused with ValueMalformed.
var errMalformed = errors.New("fsm: malformed command")

// EpochBegin returns the command with which broker claims the partition in its Raft term. attempt counts the claims
// inside one term from 1.
func EpochBegin(term uint64, broker protocol.BrokerID, attempt uint64, timeMs int64) []byte {
	b := appendCommandHeader(make([]byte, 0, epochBeginSize), kindEpochBegin, term, timeMs)
	b = binary.BigEndian.AppendUint64(b, uint64(broker))
	return binary.BigEndian.AppendUint64(b, attempt)
}

func appendCommandHeader(dst []byte, kind byte, epochOrTerm uint64, timeMs int64) []byte {
	dst = append(dst, commandVersion, kind)
	dst = binary.BigEndian.AppendUint64(dst, epochOrTerm)
	return binary.BigEndian.AppendUint64(dst, uint64(timeMs))
}

// Builder builds one kindOps command. It belongs to one goroutine; Bytes is valid until the next Reset. Dragonboat
// copies a proposal, so a Builder may be used again as soon as Propose has returned.
type Builder struct {
	buf []byte
	ops int
}

// NewOps returns a builder of a command that is applied only while epoch is current. timeMs is the leader's clock.
func NewOps(epoch protocol.Epoch, timeMs int64) *Builder {
	b := &Builder{}
	b.Reset(epoch, timeMs)
	return b
}

// Reset begins another command in the same memory.
func (b *Builder) Reset(epoch protocol.Epoch, timeMs int64) {
	b.buf = appendCommandHeader(b.buf[:0], kindOps, uint64(epoch), timeMs)
	b.ops = 0
}

// Bytes returns the command.
func (b *Builder) Bytes() []byte { return b.buf }

// Len returns how many operations were added; operation i of the command is result i.
func (b *Builder) Len() int { return b.ops }

// Size returns the length of the command so far.
func (b *Builder) Size() int { return len(b.buf) }

// Append adds one whole batch, which must have passed batch.Check.
func (b *Builder) Append(batch []byte) {
	b.begin(opAppend, len(batch))
	b.buf = append(b.buf, batch...)
}

// ProducerOpen announces an epoch of a producer and asks for its next sequence.
func (b *Builder) ProducerOpen(id protocol.ProducerID, epoch protocol.ProducerEpoch) {
	b.begin(opProducerOpen, producerOpenSize)
	b.u64(uint64(id))
	b.buf = binary.BigEndian.AppendUint32(b.buf, uint32(epoch))
}

// CursorOpen asks for a subscription's cursor and creates it at ifNew when there is none.
func (b *Builder) CursorOpen(subscription string, ifNew protocol.Offset) {
	b.begin(opCursorOpen, cursorOpenFixed+len(subscription))
	b.u64(uint64(ifNew))
	b.buf = append(b.buf, subscription...)
}

// CursorActivate begins a new activation of a subscription; acknowledgements of older ones are refused from there on.
func (b *Builder) CursorActivate(subscription string) {
	b.begin(opCursorActivate, len(subscription))
	b.buf = append(b.buf, subscription...)
}

// CursorAck moves a subscription's cursor to offset: everything below is done.
func (b *Builder) CursorAck(subscription string, activation protocol.Activation, offset protocol.Offset) {
	b.begin(opCursorAck, cursorAckFixed+len(subscription))
	b.u64(uint64(activation))
	b.u64(uint64(offset))
	b.buf = append(b.buf, subscription...)
}

// CursorDelete forgets a subscription.
func (b *Builder) CursorDelete(subscription string) {
	b.begin(opCursorDelete, len(subscription))
	b.buf = append(b.buf, subscription...)
}

// SetStart makes offset the first one that is kept.
func (b *Builder) SetStart(offset protocol.Offset) {
	b.begin(opSetStart, setStartSize)
	b.u64(uint64(offset))
}

func (b *Builder) begin(op byte, payload int) {
	b.buf = append(b.buf, op)
	b.buf = binary.BigEndian.AppendUint32(b.buf, uint32(payload))
	b.ops++
}

func (b *Builder) u64(v uint64) { b.buf = binary.BigEndian.AppendUint64(b.buf, v) }

// command is a parsed command; body aliases the entry and must not outlive it.
type command struct {
	kind   byte
	epoch  uint64 // kindEpochBegin: the Raft term, kindOps: the leader epoch
	timeMs int64
	body   []byte
}

// parseCommand checks the fixed part. Its error wraps ErrNewerCommand or errMalformed.
func parseCommand(b []byte) (command, error) {
	if len(b) > 0 && b[0] > commandVersion {
		return command{}, fmt.Errorf("%w: version %d, this broker knows %d", ErrNewerCommand, b[0], commandVersion)
	}
	if len(b) < CommandHeaderSize || b[0] != commandVersion {
		return command{}, errMalformed
	}
	c := command{
		kind:   b[1],
		epoch:  binary.BigEndian.Uint64(b[2:]),
		timeMs: int64(binary.BigEndian.Uint64(b[10:])),
		body:   b[CommandHeaderSize:],
	}
	switch {
	case c.kind == kindOps:
		return c, nil
	case c.kind == kindEpochBegin && len(b) == epochBeginSize:
		return c, nil
	}
	return command{}, errMalformed
}

// countOps returns how many operations body holds. A body whose operations do not fill it exactly is malformed as a
// whole: nothing of it is applied.
func countOps(body []byte) (int, error) {
	n := 0
	for len(body) > 0 {
		if n == MaxOps || len(body) < OpHeaderSize {
			return 0, errMalformed
		}
		_, _, rest, ok := nextOp(body)
		if !ok {
			return 0, errMalformed
		}
		body = rest
		n++
	}
	return n, nil
}

// nextOp cuts the first operation off body.
func nextOp(body []byte) (op byte, payload, rest []byte, ok bool) {
	if len(body) < OpHeaderSize {
		return 0, nil, nil, false
	}
	n := int64(binary.BigEndian.Uint32(body[1:]))
	if n > int64(len(body)-OpHeaderSize) {
		return 0, nil, nil, false
	}
	end := OpHeaderSize + int(n)
	return body[0], body[OpHeaderSize:end:end], body[end:], true
}
