package client

import (
	"context"
	"iter"
)

// Reader reads a topic without a subscription: nothing is acknowledged or remembered.
type Reader struct{}

// Reader opens a reader.
func (c *Client) Reader(ctx context.Context, topic string, opts ...ReaderOption) (*Reader, error) {
	return nil, errTODO
}

// Receive returns the next message, or io.EOF with StopAtEnd.
func (r *Reader) Receive(ctx context.Context) (*Message, error) { return nil, errTODO }

// Messages iterates over Receive. io.EOF and Close end it without an error.
func (r *Reader) Messages(ctx context.Context) iter.Seq2[*Message, error] {
	return func(func(*Message, error) bool) {}
}

// Close ends the reader.
func (r *Reader) Close(ctx context.Context) error { return errTODO }
