package wire

import (
	"context"
	"encoding/binary"
	"errors"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/frame"
)

// AppendFrame appends a whole frame of kind k with message m as its body. m escapes to the heap
// through the interface: on the hottest paths keep the message in a reused struct, or use
// frame.Begin, the message's own Append and frame.End.
func AppendFrame(dst []byte, k protocol.Kind, m interface{ Append([]byte) []byte }) []byte {
	start := len(dst)
	return frame.End(m.Append(frame.Begin(dst, k)), start)
}

// DeliverHeader is the fixed part of a deliver frame's body; whole record batches follow it. Next is
// the offset after the last record of the frame.
type DeliverHeader struct {
	Activation protocol.Activation
	Next       protocol.Offset
}

// AppendDeliverHeader appends the 16 bytes of h.
func AppendDeliverHeader(dst []byte, h DeliverHeader) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.Activation))
	return binary.BigEndian.AppendUint64(dst, uint64(h.Next))
}

// ParseDeliverHeader splits the body of a deliver frame into its header and the batches.
func ParseDeliverHeader(body []byte) (h DeliverHeader, batches []byte, err error) {
	if len(body) < protocol.DeliverHeaderSize {
		return DeliverHeader{}, nil, protocol.Errorf(protocol.CodeInvalidRequest,
			"deliver frame of %d bytes, at least %d are needed", len(body), protocol.DeliverHeaderSize)
	}
	h.Activation = protocol.Activation(binary.BigEndian.Uint64(body))
	h.Next = protocol.Offset(binary.BigEndian.Uint64(body[8:]))
	return h, body[protocol.DeliverHeaderSize:], nil
}

// Err returns the error that e carries.
func (e *Error) Err() *protocol.Error {
	return &protocol.Error{Code: e.Code, Message: e.Message, Leader: e.Leader, Epoch: e.Epoch}
}

// ErrorFrom returns what to tell the peer about err: a *protocol.Error anywhere in its chain keeps its
// code, an expired context becomes CodeTimeout, anything else CodeInternal. The message is that of the
// whole chain, so that the operation is not lost.
func ErrorFrom(err error) Error {
	var pe *protocol.Error
	if errors.As(err, &pe) {
		msg := pe.Message
		if whole := err.Error(); whole != pe.Error() {
			msg = whole
		}
		return Error{Code: pe.Code, Message: msg, Leader: pe.Leader, Epoch: pe.Epoch}
	}
	code := protocol.CodeInternal
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		code = protocol.CodeTimeout
	}
	return Error{Code: code, Message: err.Error()}
}
