// Package mpack is the bounded way to msgpack: the primitives of vmihailenco/msgpack behind an
// append-style Encoder and a Decoder that trusts no length.
//
// The library allocates whatever a peer claims (a byte string of 4 GiB from five bytes) and skips by
// recursion; this package checks every claim against the bytes that are there first. It knows nothing
// of Trunkline's messages. Encoders and Decoders come from pools and belong to one goroutine.
//
// Invariants:
//
//  1. A claimed length never exceeds the bytes that remain; an array of n elements needs n bytes.
//  2. Slices of Go values are charged to a budget of AllocFactor bytes per byte of input.
//  3. Byte strings are cut out of the input, never copied here and never kept in a pool.
//  4. Skipping keeps a count, not a stack, so depth costs nothing.
//  5. The first error sticks; every later call returns zero values.
package mpack
