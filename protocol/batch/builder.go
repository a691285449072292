package batch

import "github.com/trunkline/trunkline/protocol"

// Record is one record as producers give it and consumers get it.
type Record struct {
	Key       []byte // nil: no key
	Value     []byte // nil: no value (a tombstone)
	Headers   []HeaderField
	Timestamp int64 // Unix milliseconds
}

// HeaderField is one header of a record.
type HeaderField struct {
	Key   string
	Value []byte
}

// Builder collects records and packs them into a batch. It belongs to one goroutine.
type Builder struct{}

// NewBuilder returns an empty Builder.
func NewBuilder(c Compression) *Builder { return &Builder{} }

// Add appends a record; it copies all of r.
func (b *Builder) Add(r Record) error { return nil }

// Len returns the number of records.
func (b *Builder) Len() int { return 0 }

// Size returns the size of the batch if it were built without compression.
func (b *Builder) Size() int { return 0 }

// Build appends the batch to dst.
func (b *Builder) Build(dst []byte, p protocol.ProducerID, e protocol.ProducerEpoch, base protocol.Sequence) ([]byte, error) {
	return dst, nil
}

// Reset forgets the records.
func (b *Builder) Reset() {}

// EncodedSize returns how much Add of r makes Size grow.
func EncodedSize(r *Record) int { return 0 }
