package meta

import (
	"bytes"
	"fmt"

	"github.com/trunkline/trunkline/protocol"
)

// result is the answer to a command, encoded as a msgpack array [code, message, version, a, b].
type result struct {
	code    protocol.Code // 0: done
	message string
	version uint64 // image version at which the effect is visible
	a, b    uint64 // topic ID; or producer ID and epoch
}

func refuse(err *protocol.Error) result {
	m := err.Message
	if len(m) > maxMessageBytes {
		m = m[:maxMessageBytes]
	}
	return result{code: err.Code, message: m}
}

func (r *result) err() error {
	if r.code == 0 {
		return nil
	}
	return &protocol.Error{Code: r.code, Message: r.message}
}

const resultFields = 5

func (r *result) encode() []byte {
	e := newEncoder()
	e.array(resultFields)
	e.uint(uint64(r.code))
	e.str(r.message)
	e.uint(r.version)
	e.uint(r.a)
	e.uint(r.b)
	return e.buf.Bytes()
}

func decodeResult(b []byte) (result, error) {
	d := newDecoder(bytes.NewReader(b))
	extra := d.fields(resultFields)
	r := result{code: protocol.Code(d.uintMax(1<<16 - 1)), message: d.str(maxMessageBytes)}
	r.version, r.a, r.b = d.uint(), d.uint(), d.uint()
	d.rest(extra)
	if d.err != nil {
		return result{}, fmt.Errorf("decode metadata result: %w", d.err)
	}
	return r, nil
}
