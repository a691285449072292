package mpack

import (
	"sync"

	"github.com/vmihailenco/msgpack/v5"
)

// Encoder appends msgpack values to a byte slice. Integers take their shortest form.
type Encoder struct {
	out sink
	mp  *msgpack.Encoder
}

// sink is the writer under the library's encoder. It cannot fail, so no error of the library's
// primitives can occur and the methods below drop them.
type sink struct{ buf []byte }

func (s *sink) Write(p []byte) (int, error) {
	s.buf = append(s.buf, p...)
	return len(p), nil
}

func (s *sink) WriteByte(c byte) error {
	s.buf = append(s.buf, c)
	return nil
}

// NewEncoder returns an Encoder with an empty output.
func NewEncoder() *Encoder {
	e := new(Encoder)
	e.mp = msgpack.NewEncoder(&e.out)
	e.mp.UseCompactInts(true)
	return e
}

var encoders = sync.Pool{New: func() any { return NewEncoder() }}

// Acquire returns a pooled Encoder that appends to dst. Release gives it back.
func Acquire(dst []byte) *Encoder {
	e := encoders.Get().(*Encoder)
	e.out.buf = dst
	return e
}

// Release returns the output and gives the Encoder back to the pool.
func (e *Encoder) Release() []byte {
	b := e.out.buf
	e.out.buf = nil
	encoders.Put(e)
	return b
}

// Output returns what was appended so far. It stays the Encoder's until SetOutput.
func (e *Encoder) Output() []byte { return e.out.buf }

// SetOutput makes the Encoder append to dst.
func (e *Encoder) SetOutput(dst []byte) { e.out.buf = dst }

// Array appends the head of an array of n values.
func (e *Encoder) Array(n int) { _ = e.mp.EncodeArrayLen(n) }

// Nil appends nil.
func (e *Encoder) Nil() { _ = e.mp.EncodeNil() }

// Uint appends an unsigned integer.
func (e *Encoder) Uint(v uint64) { _ = e.mp.EncodeUint(v) }

// Int appends a signed integer.
func (e *Encoder) Int(v int64) { _ = e.mp.EncodeInt(v) }

// Bool appends a boolean.
func (e *Encoder) Bool(v bool) { _ = e.mp.EncodeBool(v) }

// String appends a string.
func (e *Encoder) String(v string) { _ = e.mp.EncodeString(v) }

// Bytes appends a byte string, or nil when v is nil.
func (e *Encoder) Bytes(v []byte) { _ = e.mp.EncodeBytes(v) }

// OptUint appends an unsigned integer, or nil when v is nil.
func OptUint[T ~uint32 | ~uint64](e *Encoder, v *T) {
	if v == nil {
		e.Nil()
		return
	}
	e.Uint(uint64(*v))
}
