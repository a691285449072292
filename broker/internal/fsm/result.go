package fsm

import (
	"encoding/binary"

	"github.com/trunkline/trunkline/protocol"
)

// What statemachine.Result.Value says about a command.
const (
	ValueFenced    uint64 = 0 // nothing was applied: another epoch is current; Data: ParseFenced
	ValueOK        uint64 = 1 // epoch-begin: Data is ParseEpoch; ops: one ParseResult per operation
	ValueMalformed uint64 = 2 // nothing was applied: the bytes are not a command; no Data
)

const (
	opResultSize = 18
	fencedSize   = 16
)

// OpResult is the answer to one operation. What A and B are:
//
//	Append          first offset | 1 if it was a duplicate
//	ProducerOpen    next sequence | 0
//	CursorOpen      cursor | activation
//	CursorActivate  activation | cursor
//	CursorAck       cursor | activation            (also with CodeStaleActivation)
//	CursorDelete    1 if there was a cursor | 0
//	SetStart        start | 0
//
// With CodeOutOfSequence A is the sequence that is expected, with CodeProducerFenced the producer's current epoch.
type OpResult struct {
	Code protocol.Code // 0: done
	A, B uint64
}

func appendResult(dst []byte, r OpResult) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(r.Code))
	dst = binary.BigEndian.AppendUint64(dst, r.A)
	return binary.BigEndian.AppendUint64(dst, r.B)
}

// ParseResult returns the result of operation i of a command answered with ValueOK, CodeInternal if there is none.
func ParseResult(data []byte, i int) OpResult {
	if i < 0 || i >= len(data)/opResultSize {
		return OpResult{Code: protocol.CodeInternal}
	}
	d := data[i*opResultSize:]
	return OpResult{
		Code: protocol.Code(binary.BigEndian.Uint16(d)),
		A:    binary.BigEndian.Uint64(d[2:]),
		B:    binary.BigEndian.Uint64(d[10:]),
	}
}

// ParseEpoch returns the epoch that an epoch-begin answered with ValueOK has begun, 0 if data is something else.
func ParseEpoch(data []byte) protocol.Epoch {
	if len(data) != 8 {
		return 0
	}
	return protocol.Epoch(binary.BigEndian.Uint64(data))
}

// ParseFenced returns the current epoch and its broker from the Data of ValueFenced, zeros if data is something else.
func ParseFenced(data []byte) (protocol.Epoch, protocol.BrokerID) {
	if len(data) != fencedSize {
		return 0, 0
	}
	return protocol.Epoch(binary.BigEndian.Uint64(data)), protocol.BrokerID(binary.BigEndian.Uint64(data[8:]))
}

func appendFenced(dst []byte, epoch protocol.Epoch, leader protocol.BrokerID) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(epoch))
	return binary.BigEndian.AppendUint64(dst, uint64(leader))
}
