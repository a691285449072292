package client

import (
	"context"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
)

// Batch is what one append put into a partition, in the encoding of package protocol/batch: the bytes that the producer sealed
// and every replica stores. Its checksums have been checked, its records have not been looked at.
type Batch struct {
	Topic     protocol.TopicID
	Partition protocol.Partition
	Header    batch.Header
	Bytes     []byte // the receiver's own
}

// BatchReader reads a topic as a Reader does, batch by batch: for copies that must be exact. Of each partition a batch comes
// once, and the first one may begin before the offset that was asked for.
type BatchReader struct{ r *Reader }

// BatchReader opens a reader of batches; see Client.Reader.
func (c *Client) BatchReader(ctx context.Context, topic string, opts ...ReaderOption) (*BatchReader, error) {
	r, err := c.Reader(ctx, topic, opts...)
	if err != nil {
		return nil, err
	}
	return &BatchReader{r}, nil
}

// Receive returns the next batch. With StopAtEnd it returns io.EOF after the last one. Hooks are not told of batches.
func (r *BatchReader) Receive(ctx context.Context) (*Batch, error) {
	return await(ctx, r.r.s, func() (*Batch, error) { return takeBy(r.r.s, (*feed).popBatch) })
}

// Close ends the reader.
func (r *BatchReader) Close(ctx context.Context) error { return r.r.Close(ctx) }

// popBatch returns the next batch as it is. Called with mu held, of a feed whose batches are never unpacked.
func (f *feed) popBatch() (*Batch, popped) {
	if !f.has() {
		return nil, gotNothing
	}
	next := f.buf[0]
	if next.gap != nil {
		return nil, f.nextBatch()
	}
	f.buf[0] = fetched{}
	f.buf = f.buf[1:]
	f.freed += len(next.bytes)
	f.returnCredit()
	if f.s.cfg.stopAtEnd && next.header.BaseOffset >= f.end {
		return nil, gotBatchEnd
	}
	f.pos = next.header.Next()
	return &Batch{Topic: f.s.topicID, Partition: f.partition, Header: next.header, Bytes: next.bytes}, gotBatch
}
