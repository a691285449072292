// Package wire holds the control messages and their msgpack encoding.
//
// A message is a msgpack array of its fields in the order of the struct. It grows at the end: a reader
// passes over fields it does not know and reads absent ones as zero. A request or response is
// [tag, body]. The package never looks at a message's meaning (names, limits, states): that is the
// session's and the client's part. Functions are safe for concurrent use on different messages.
//
// Invariants:
//
//  1. Decode never panics, keeps nothing of its input, and allocates O(len(input)) whatever the input claims.
//  2. Append writes what Decode reads back equal, except that empty lists and byte strings become nil and that
//     texts for people are cut to fit their frame.
//  3. Append of a message into a slice with room allocates nothing.
package wire
