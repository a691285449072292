package mpack

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"sync"

	"github.com/vmihailenco/msgpack/v5"
	"github.com/vmihailenco/msgpack/v5/msgpcode"
)

const (
	// AllocFactor bounds the memory of decoded slices: so many bytes per byte of input. What our own
	// encoders write needs less than 16 (an empty string is one byte and a header of 16).
	AllocFactor = 32
	// allocSlack lets a tiny message hold a few elements of large types.
	allocSlack = 1 << 10
)

// The ways an input can be wrong, beside those the library finds.
var (
	ErrShort    = errors.New("a length exceeds the bytes that are there")
	ErrTrailing = errors.New("bytes after the message")
	ErrRange    = errors.New("a number is out of range")
	ErrTooMany  = errors.New("more elements than allowed")
	ErrBudget   = errors.New("too many elements for the size of the message")
)

// Decoder reads msgpack values from one byte slice.
type Decoder struct {
	in     []byte
	r      bytes.Reader // of in; an io.ByteScanner, so that the library does not buffer
	mp     *msgpack.Decoder
	budget int
	err    error
}

// NewDecoder returns a Decoder of nothing; Reset gives it an input.
func NewDecoder() *Decoder {
	d := new(Decoder)
	d.mp = msgpack.NewDecoder(&d.r)
	return d
}

// Reset makes the Decoder read in from its beginning.
func (d *Decoder) Reset(in []byte) {
	d.in, d.err, d.budget = in, nil, AllocFactor*len(in)+allocSlack
	d.r.Reset(in)
}

var decoders = sync.Pool{New: func() any { return NewDecoder() }}

// Decode runs f on a pooled Decoder of in and returns what went wrong, bytes left over included.
func Decode(in []byte, f func(*Decoder)) error {
	d := decoders.Get().(*Decoder)
	d.Reset(in)
	f(d)
	if d.err == nil && d.r.Len() != 0 {
		d.err = ErrTrailing
	}
	err := d.err
	d.Reset(nil)
	decoders.Put(d)
	return err
}

// Err returns the first error.
func (d *Decoder) Err() error { return d.err }

// Remaining returns how many bytes were not read yet.
func (d *Decoder) Remaining() int { return d.r.Len() }

// Fail makes err the Decoder's error unless it has one.
func (d *Decoder) Fail(err error) {
	if d.err != nil || err == nil {
		return
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	d.err = fmt.Errorf("at byte %d: %w", d.pos(), err)
}

func (d *Decoder) pos() int { return len(d.in) - d.r.Len() }

// peek returns the next code without consuming it; at the end it fails and returns false.
func (d *Decoder) peek() (byte, bool) {
	if d.err != nil {
		return 0, false
	}
	p := d.pos()
	if p >= len(d.in) {
		d.Fail(io.ErrUnexpectedEOF)
		return 0, false
	}
	return d.in[p], true
}

// Nil consumes a nil if one is next and tells so.
func (d *Decoder) Nil() bool {
	c, ok := d.peek()
	if !ok || c != msgpcode.Nil {
		return false
	}
	d.Fail(d.mp.DecodeNil())
	return true
}

// Uint reads an unsigned integer of at most limit. nil is 0.
func (d *Decoder) Uint(limit uint64) uint64 {
	c, ok := d.peek()
	if !ok {
		return 0
	}
	// The library would turn a negative number into a huge one.
	if c >= msgpcode.NegFixedNumLow || (c >= msgpcode.Int8 && c <= msgpcode.Int64) {
		v := d.Int()
		if v < 0 || uint64(v) > limit {
			d.Fail(ErrRange)
			return 0
		}
		return uint64(v)
	}
	v, err := d.mp.DecodeUint64()
	if err == nil && v > limit {
		err = ErrRange
	}
	if err != nil {
		d.Fail(err)
		return 0
	}
	return v
}

// Int reads a signed integer. nil is 0.
func (d *Decoder) Int() int64 {
	c, ok := d.peek()
	if !ok {
		return 0
	}
	v, err := d.mp.DecodeInt64()
	if err == nil && c == msgpcode.Uint64 && v < 0 {
		err = ErrRange
	}
	if err != nil {
		d.Fail(err)
		return 0
	}
	return v
}

// Bool reads a boolean. nil is false.
func (d *Decoder) Bool() bool {
	if d.err != nil {
		return false
	}
	v, err := d.mp.DecodeBool()
	d.Fail(err)
	return v && err == nil
}

// View reads a byte string or string as a part of the input. nil is nil; an empty one is not.
func (d *Decoder) View() []byte {
	if d.err != nil {
		return nil
	}
	n, err := d.mp.DecodeBytesLen()
	if err != nil {
		d.Fail(err)
		return nil
	}
	if n < 0 {
		return nil
	}
	p := d.pos()
	if !d.advance(n) {
		return nil
	}
	return d.in[p : p+n : p+n]
}

// Bytes reads a byte string into memory of its own. nil and empty are nil.
func (d *Decoder) Bytes() []byte {
	if v := d.View(); len(v) > 0 {
		return bytes.Clone(v)
	}
	return nil
}

// String reads a string.
func (d *Decoder) String() string { return string(d.View()) }

// Array reads the head of an array of at most limit elements, each of which takes at least elem bytes of
// input. nil is an empty array.
func (d *Decoder) Array(limit, elem int) int {
	if d.err != nil {
		return 0
	}
	n, err := d.mp.DecodeArrayLen()
	switch {
	case err != nil:
		d.Fail(err)
		return 0
	case n <= 0:
		return 0
	case n > d.r.Len()/elem:
		d.Fail(ErrShort)
		return 0
	case n > limit:
		d.Fail(ErrTooMany)
		return 0
	}
	return n
}

// advance moves n bytes forward.
func (d *Decoder) advance(n int) bool {
	if n > d.r.Len() {
		d.Fail(ErrShort)
		return false
	}
	_, err := d.r.Seek(int64(n), io.SeekCurrent)
	d.Fail(err)
	return err == nil
}

// charge takes n bytes of the budget for allocations.
func (d *Decoder) charge(n int) bool {
	if n > d.budget {
		d.Fail(ErrBudget)
		return false
	}
	d.budget -= n
	return true
}

// Skip passes over one value of any type and depth.
func (d *Decoder) Skip() {
	// todo counts the values still to pass; each takes at least a byte, which bounds it and the loop.
	for todo := 1; todo > 0 && d.err == nil; todo-- {
		todo += d.skipHead()
		if todo-1 > d.r.Len() {
			d.Fail(ErrShort)
		}
	}
}

// skipHead passes over a scalar, or over the head of a container and returns how many values it holds.
func (d *Decoder) skipHead() int {
	c, ok := d.peek()
	if !ok {
		return 0
	}
	var n int
	var err error
	switch {
	case msgpcode.IsFixedMap(c) || c == msgpcode.Map16 || c == msgpcode.Map32:
		n, err = d.mp.DecodeMapLen()
		n *= 2
	case msgpcode.IsFixedArray(c) || c == msgpcode.Array16 || c == msgpcode.Array32:
		n, err = d.mp.DecodeArrayLen()
	case msgpcode.IsString(c) || msgpcode.IsBin(c):
		d.View()
	case msgpcode.IsExt(c):
		var size int
		if _, size, err = d.mp.DecodeExtHeader(); err == nil {
			d.advance(size)
		}
	default:
		err = d.mp.Skip() // a number, boolean or nil: at most nine bytes
	}
	d.Fail(err)
	if d.err != nil {
		return 0
	}
	return n
}

// Fields walks the array that holds one message. Fields that are not there read as zero and End passes
// over those this version does not know: that is how messages grow.
type Fields struct {
	d    *Decoder
	left int
}

// Fields begins a message.
func (d *Decoder) Fields() Fields { return Fields{d: d, left: d.Array(math.MaxInt32, 1)} }

// Next reports whether there is another field and counts it as read.
func (f *Fields) Next() bool {
	if f.left == 0 || f.d.err != nil {
		return false
	}
	f.left--
	return true
}

// End passes over the fields that were not read.
func (f *Fields) End() {
	for f.Next() {
		f.d.Skip()
	}
}

// Uint64 reads the next field.
func (f *Fields) Uint64() uint64 { return f.uint(math.MaxUint64) }

// Uint32 reads the next field.
func (f *Fields) Uint32() uint32 { return uint32(f.uint(math.MaxUint32)) }

// Uint16 reads the next field.
func (f *Fields) Uint16() uint16 { return uint16(f.uint(math.MaxUint16)) }

// Uint8 reads the next field.
func (f *Fields) Uint8() uint8 { return uint8(f.uint(math.MaxUint8)) }

func (f *Fields) uint(limit uint64) uint64 {
	if !f.Next() {
		return 0
	}
	return f.d.Uint(limit)
}

// Int reads the next field.
func (f *Fields) Int() int64 {
	if !f.Next() {
		return 0
	}
	return f.d.Int()
}

// Bool reads the next field.
func (f *Fields) Bool() bool { return f.Next() && f.d.Bool() }

// String reads the next field.
func (f *Fields) String() string {
	if !f.Next() {
		return ""
	}
	return f.d.String()
}

// Bytes reads the next field into memory of its own.
func (f *Fields) Bytes() []byte {
	if !f.Next() {
		return nil
	}
	return f.d.Bytes()
}

// View reads the next field as a part of the input.
func (f *Fields) View() []byte {
	if !f.Next() {
		return nil
	}
	return f.d.View()
}

// OptUint64 reads the next field, nil when it is nil or not there.
func (f *Fields) OptUint64() *uint64 { return opt[uint64](f, math.MaxUint64) }

// OptUint32 reads the next field, nil when it is nil or not there.
func (f *Fields) OptUint32() *uint32 { return opt[uint32](f, math.MaxUint32) }

func opt[T ~uint32 | ~uint64](f *Fields, limit uint64) *T {
	if !f.Next() || f.d.Nil() {
		return nil
	}
	v := T(f.d.Uint(limit))
	return &v
}

// List reads the next field as an array of at most limit elements, each by one call of read. The slice is
// allocated at once, after its length was checked against the input and its size against the budget.
func List[T any](f *Fields, limit int, read func(*Decoder, *T)) []T {
	if !f.Next() {
		return nil
	}
	n := f.d.Array(limit, 1)
	if n == 0 || !f.d.charge(n*int(reflect.TypeFor[T]().Size())) {
		return nil
	}
	s := make([]T, n)
	for i := range s {
		read(f.d, &s[i])
		if f.d.err != nil {
			return nil
		}
	}
	return s
}
