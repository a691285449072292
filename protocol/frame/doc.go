// Package frame reads and writes the length-prefixed frames of a Trunkline stream.
//
//	 0       1       2       3       4       5       6       7       8
//	+-------+-------+-------+-------+-------+-------+-------+-------+--------
//	|          body length          | kind  | flags |   reserved    | body
//	+-------+-------+-------+-------+-------+-------+-------+-------+--------
//
// It owns the header and the buffers that bodies are read into. It never looks into a body, never
// decides which kind may follow which (Only and SetLimit are told), and starts no goroutines. A Reader
// belongs to one goroutine.
//
// Invariants:
//
//  1. The kind and the length are checked, by the protocol and by Only and SetLimit, before anything is
//     allocated.
//  2. Memory follows the bytes that arrived, not the length that was claimed: beyond eagerBytes a
//     buffer grows only as it fills.
//  3. io.EOF is returned at a frame border only; inside a frame the end is io.ErrUnexpectedEOF.
//  4. After an error a Reader returns the same error for ever.
//
// Bounds: one frame of Kind.MaxBody bytes, or less as set by SetLimit. A longer one is refused with
// CodeFrameTooLarge, an unknown kind and one that Only left out with CodeUnexpectedFrame.
package frame
