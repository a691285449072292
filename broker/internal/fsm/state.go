package fsm

import (
	"encoding/binary"

	"github.com/trunkline/trunkline/broker/internal/failpoint"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
)

// state is what a replica knows of its partition beside the log itself. It is pure: no I/O, no clock, no goroutine.
type state struct {
	applied uint64 // Raft index of the last applied entry

	epoch   protocol.Epoch
	leader  protocol.BrokerID // who began epoch
	term    uint64            // (term, attempt) of the last epoch-begin that was accepted
	attempt uint64

	start      protocol.Offset // first offset that is kept
	next       protocol.Offset // offset of the next record
	lastAppend int64           // append time of the newest batch, Unix ms

	hash [32]byte // chain over everything applied

	producers producerTable
	cursors   cursorTable
}

func newState(maxProducers, maxSubscriptions int) state {
	return state{producers: newProducerTable(maxProducers), cursors: newCursorTable(maxSubscriptions)}
}

// beginEpoch accepts a claim only if it is newer than the last one: a claim that comes late, or twice, must not depose
// the broker that claimed after it.
func (s *state) beginEpoch(term, attempt uint64, broker protocol.BrokerID) bool {
	if term < s.term || term == s.term && attempt <= s.attempt {
		return false
	}
	s.term, s.attempt = term, attempt
	s.epoch++
	s.leader = broker
	return true
}

// admit decides about a batch. With true the batch is to be appended at s.next and the producer's state is to be moved
// on with appended; otherwise the result is the answer.
func (s *state) admit(h *batch.Header) (*producer, OpResult, bool) {
	p := s.producers.byID[h.Producer]
	if p == nil {
		if h.BaseSequence != 0 {
			return nil, OpResult{Code: protocol.CodeProducerUnknown}, false
		}
		if p = s.producers.admit(h.Producer, h.ProducerEpoch); p == nil {
			return nil, OpResult{Code: protocol.CodeLimitExceeded}, false
		}
		return p, OpResult{}, true
	}
	if p.fences(h.ProducerEpoch) {
		return nil, OpResult{Code: protocol.CodeProducerFenced, A: uint64(p.epoch)}, false
	}
	p.epoch = h.ProducerEpoch
	s.producers.touch(p)
	if failpoint.Bug("bug.skip-dedupe") && h.BaseSequence <= p.next {
		return p, OpResult{}, true
	}
	switch {
	case h.BaseSequence == p.next:
		return p, OpResult{}, true
	case h.BaseSequence > p.next || h.NextSequence() > p.next:
		return nil, OpResult{Code: protocol.CodeOutOfSequence, A: uint64(p.next)}, false
	}
	if offset, ok := p.find(h.BaseSequence, uint64(h.Count)); ok {
		return nil, OpResult{A: uint64(offset), B: 1}, false
	}
	return nil, OpResult{Code: protocol.CodeProducerUnknown}, false
}

// appended moves the state over a batch of count records that went to s.next.
func (s *state) appended(p *producer, count uint32, appendTime int64) OpResult {
	r := OpResult{A: uint64(s.next)}
	p.record(s.next, uint64(count))
	s.next += protocol.Offset(count)
	s.lastAppend = appendTime
	return r
}

// openProducer makes a producer's epoch known and answers its next sequence.
func (s *state) openProducer(id protocol.ProducerID, epoch protocol.ProducerEpoch) OpResult {
	p := s.producers.byID[id]
	if p == nil {
		if p = s.producers.admit(id, epoch); p == nil {
			return OpResult{Code: protocol.CodeLimitExceeded}
		}
	}
	if p.fences(epoch) {
		return OpResult{Code: protocol.CodeProducerFenced, A: uint64(p.epoch)}
	}
	p.epoch = epoch
	s.producers.touch(p)
	return OpResult{A: uint64(p.next)}
}

// setStart moves the start forward; the segments below go with the next Sync. Cursors stay where they are: that a
// subscription missed records is told to its consumer, not hidden here.
func (s *state) setStart(o protocol.Offset) OpResult {
	if o > s.next {
		return OpResult{Code: protocol.CodeOffsetOutOfRange, A: uint64(s.start)}
	}
	s.start = max(s.start, o)
	return OpResult{A: uint64(s.start)}
}

// applyOp applies every operation but opAppend, which also needs the log.
func (s *state) applyOp(op byte, payload []byte) OpResult {
	be := binary.BigEndian
	switch {
	case op == opProducerOpen && len(payload) == producerOpenSize:
		return s.openProducer(protocol.ProducerID(be.Uint64(payload)), protocol.ProducerEpoch(be.Uint32(payload[8:])))
	case op == opCursorOpen && len(payload) >= cursorOpenFixed:
		return s.cursors.open(payload[cursorOpenFixed:], protocol.Offset(be.Uint64(payload)), s.start, s.next)
	case op == opCursorActivate:
		return s.cursors.activate(payload)
	case op == opCursorAck && len(payload) >= cursorAckFixed:
		return s.cursors.ack(payload[cursorAckFixed:], protocol.Activation(be.Uint64(payload)),
			protocol.Offset(be.Uint64(payload[8:])), s.next)
	case op == opCursorDelete:
		return s.cursors.remove(payload)
	case op == opSetStart && len(payload) == setStartSize:
		return s.setStart(protocol.Offset(be.Uint64(payload)))
	}
	return OpResult{Code: protocol.CodeInvalidRequest}
}
