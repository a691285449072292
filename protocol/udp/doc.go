// Package udp reads the datagrams of a QUIC socket with few system calls.
//
// Where the system has it (Linux 5.0), generic receive offload is switched on: the kernel then hands over a run of
// equal datagrams of one sender in one piece, and this package cuts it up again. A sender with segmentation offload
// gives the kernel runs of some fourteen packets; without receive offload each of them is a wake-up, a socket buffer
// and a system call's share of its own, and on loopback the kernel must first take the run apart.
//
// It owns a socket's receive buffers, and nothing of the socket. It never writes, never looks into a datagram and
// starts no goroutine. A Receiver belongs to one goroutine.
//
// Invariants:
//
//  1. Datagrams come out in the order and with the borders in which they were sent, each with the address and the
//     control messages of the piece it came in.
//  2. What was received is handed out before the socket is read again, and before an error of it.
//
// Bounds: pieces buffers of maxPiece bytes, touched by the kernel only as far as traffic needs them. A datagram longer
// than the caller's buffer is cut off, as a read from a socket would.
package udp
