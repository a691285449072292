package meta

import (
	"bytes"
	"fmt"
	"io"

	"github.com/vmihailenco/msgpack/v5"
)

// encoder writes msgpack to memory, where writing cannot fail: an error is a defect and panics.
type encoder struct {
	buf bytes.Buffer
	enc *msgpack.Encoder
}

func newEncoder() *encoder {
	e := &encoder{}
	e.enc = msgpack.NewEncoder(&e.buf)
	return e
}

func (e *encoder) must(err error) {
	if err != nil {
		panic(fmt.Sprintf("meta: encode to memory: %v", err))
	}
}

func (e *encoder) array(n int)    { e.must(e.enc.EncodeArrayLen(n)) }
func (e *encoder) uint(v uint64)  { e.must(e.enc.EncodeUint(v)) }
func (e *encoder) str(s string)   { e.must(e.enc.EncodeString(s)) }
func (e *encoder) bytes(b []byte) { e.must(e.enc.EncodeBytes(b)) }
func (e *encoder) bool(v bool)    { e.must(e.enc.EncodeBool(v)) }

// optional writes nil or the number.
func (e *encoder) optional(v *uint64) {
	if v == nil {
		e.must(e.enc.EncodeNil())
		return
	}
	e.uint(*v)
}

// decoder reads msgpack and remembers the first error; after it, every read returns zero. Lengths are checked against
// the caller's bound before anything is allocated.
type decoder struct {
	dec *msgpack.Decoder
	err error
}

func newDecoder(r io.Reader) *decoder { return &decoder{dec: msgpack.NewDecoder(r)} }

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf(format, args...)
	}
}

func (d *decoder) keep(err error) bool {
	if d.err == nil {
		d.err = err
	}
	return d.err == nil
}

// array reads the length of an array of at most max elements.
func (d *decoder) array(max int) int {
	if d.err != nil {
		return 0
	}
	n, err := d.dec.DecodeArrayLen()
	if !d.keep(err) {
		return 0
	}
	if n < 0 || n > max {
		d.fail("array of %d elements where at most %d are allowed", n, max)
		return 0
	}
	return n
}

// fields reads the length of an array that stands for a struct of want fields. More are skipped by rest.
func (d *decoder) fields(want int) int {
	n := d.array(maxFields)
	if d.err == nil && n < want {
		d.fail("%d fields where %d are needed", n, want)
	}
	return n - want
}

// rest skips fields that a newer version added.
func (d *decoder) rest(n int) {
	for ; n > 0 && d.err == nil; n-- {
		d.skipScalar()
	}
}

// skipScalar skips one value that is not an array or map, so that skipping cannot recurse.
func (d *decoder) skipScalar() {
	code, err := d.dec.PeekCode()
	if !d.keep(err) {
		return
	}
	if code >= 0x80 && code <= 0x9f || code >= 0xdc && code <= 0xdf {
		d.fail("unknown field is an array or a map")
		return
	}
	if isBytes(code) {
		d.blob(maxUnknownBytes)
		return
	}
	d.keep(d.dec.Skip())
}

func isBytes(code byte) bool {
	return code >= 0xa0 && code <= 0xbf || code >= 0xc4 && code <= 0xc9 || code >= 0xd4 && code <= 0xdb
}

func (d *decoder) uint() uint64 {
	if d.err != nil {
		return 0
	}
	v, err := d.dec.DecodeUint64()
	if !d.keep(err) {
		return 0
	}
	return v
}

// uintMax reads a number of at most max.
func (d *decoder) uintMax(max uint64) uint64 {
	v := d.uint()
	if v > max {
		d.fail("number %d is above %d", v, max)
		return 0
	}
	return v
}

func (d *decoder) bool() bool {
	if d.err != nil {
		return false
	}
	v, err := d.dec.DecodeBool()
	return d.keep(err) && v
}

// optional reads nil or a number.
func (d *decoder) optional() *uint64 {
	if d.err != nil {
		return nil
	}
	code, err := d.dec.PeekCode()
	if !d.keep(err) {
		return nil
	}
	if code == 0xc0 {
		d.keep(d.dec.DecodeNil())
		return nil
	}
	v := d.uint()
	return &v
}

func (d *decoder) blob(max int) []byte {
	if d.err != nil {
		return nil
	}
	n, err := d.dec.DecodeBytesLen()
	if !d.keep(err) {
		return nil
	}
	if n < 0 || n > max {
		d.fail("%d bytes where at most %d are allowed", n, max)
		return nil
	}
	b := make([]byte, n)
	if !d.keep(d.dec.ReadFull(b)) {
		return nil
	}
	return b
}

func (d *decoder) str(max int) string { return string(d.blob(max)) }

const (
	maxFields       = 32
	maxUnknownBytes = 4 << 10
)
