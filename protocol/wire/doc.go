// Package wire encodes and decodes the msgpack bodies of control messages.
package wire
