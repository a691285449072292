package frame

import (
	"encoding/binary"

	"github.com/trunkline/trunkline/protocol"
)

// HeaderSize is the size of the header before every body.
const HeaderSize = 8

// Header is what the header says: the kind of the frame and the length of its body.
type Header struct {
	Kind   protocol.Kind
	Length int
}

// AppendHeader appends the header of a frame of kind k with a body of bodyLen bytes. A body that no
// peer would take is a defect of the caller: it must split or refuse before.
func AppendHeader(dst []byte, k protocol.Kind, bodyLen int) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(bodyLen))
	return append(dst, byte(k), 0, 0, 0)
}

// ParseHeader reads a header from the beginning of b. It refuses unknown kinds and bodies above the
// kind's cap; flags and the reserved field are ignored, so that later versions can use them.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderSize {
		return Header{}, protocol.Errorf(protocol.CodeInvalidRequest,
			"frame header needs %d bytes, got %d", HeaderSize, len(b))
	}
	n, k := binary.BigEndian.Uint32(b), protocol.Kind(b[4])
	limit := k.MaxBody()
	if limit == 0 {
		return Header{}, protocol.Errorf(protocol.CodeUnexpectedFrame, "frame of unknown kind %d", uint8(k))
	}
	if uint64(n) > uint64(limit) {
		return Header{}, tooLarge(k, uint64(n), limit)
	}
	return Header{Kind: k, Length: int(n)}, nil
}

// Append appends a whole frame.
func Append(dst []byte, k protocol.Kind, body []byte) []byte {
	return append(AppendHeader(dst, k, len(body)), body...)
}

// Begin appends a header without a length. The caller appends the body and then calls End with the
// length dst had before Begin. Both are free of allocations when dst has room.
func Begin(dst []byte, k protocol.Kind) []byte {
	return append(dst, 0, 0, 0, 0, byte(k), 0, 0, 0)
}

// End writes the length of the frame that begins at dst[start] and ends at the end of dst.
func End(dst []byte, start int) []byte {
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start-HeaderSize))
	return dst
}

func tooLarge(k protocol.Kind, n uint64, limit int) *protocol.Error {
	return protocol.Errorf(protocol.CodeFrameTooLarge, "%s frame of %d bytes, at most %d are allowed", k, n, limit)
}
