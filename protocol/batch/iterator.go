package batch

import (
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/internal/mpack"
)

// ReadOptions changes how Records reads a batch.
type ReadOptions struct {
	// Checked says that Check has passed on these bytes already, so that Records need not repeat it.
	Checked bool
	// Buffer is used for the unpacked payload when it has the capacity, else a new one is allocated.
	// The records of a compressed batch then live in it.
	Buffer []byte
}

// Iterator yields the records of one batch in order. It belongs to one goroutine.
type Iterator struct {
	header Header
	dec    *mpack.Decoder
	left   uint32 // records not yielded yet
	err    error
}

// Records unpacks the batch b and returns an iterator over its records. Unpacking is bounded by
// protocol.MaxBatchBytesLimit. Keys and values alias b, or the unpacked payload.
func Records(b []byte, opts ReadOptions) (*Iterator, error) {
	h, err := readable(b, opts.Checked)
	if err != nil {
		return nil, err
	}
	payload := b[HeaderSize:]
	if h.Compression != None {
		size := unpackedSize(b, &h)
		if size > protocol.MaxBatchBytesLimit {
			return nil, corrupt("payload says it unpacks to %d bytes", size)
		}
		if payload, err = unpack(opts.Buffer, h.Compression, payload[sizePrefix:], int(size)); err != nil {
			return nil, err
		}
	}
	it := &Iterator{header: h, dec: mpack.NewDecoder(), left: h.Count}
	it.dec.Reset(payload)
	return it, nil
}

// readable checks b as far as needed to read its payload safely.
func readable(b []byte, checked bool) (Header, error) {
	if !checked {
		return Check(b, protocol.MaxBatchBytesLimit)
	}
	h, err := ParseHeader(b)
	if err == nil && int64(h.Length) != int64(len(b)) {
		err = corrupt("batch length %d, but %d bytes are there", h.Length, len(b))
	}
	return h, err
}

// Header returns the header of the batch.
func (it *Iterator) Header() Header { return it.header }

// Next returns the next record; false at the end and on damage, see Err.
func (it *Iterator) Next() (Record, bool) {
	if it.err != nil {
		return Record{}, false
	}
	if it.left == 0 {
		if n := it.dec.Remaining(); n != 0 {
			it.err = corrupt("%d bytes after the last of %d records", n, it.header.Count)
		}
		return Record{}, false
	}
	var r Record
	f := it.dec.Fields()
	r.Key = f.View()
	r.Value = f.View()
	r.Headers = mpack.List(&f, protocol.MaxRecordHeaders, readHeaderField)
	r.Timestamp = f.Int()
	f.End()
	if err := it.dec.Err(); err != nil {
		it.err = corrupt("record %d of %d: %v", it.header.Count-it.left, it.header.Count, err)
		return Record{}, false
	}
	it.left--
	return r, true
}

func readHeaderField(d *mpack.Decoder, h *HeaderField) {
	f := d.Fields()
	h.Key = f.String()
	h.Value = f.View()
	f.End()
}

// Err returns what ended the iteration early, or nil.
func (it *Iterator) Err() error { return it.err }
