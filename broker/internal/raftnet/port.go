package raftnet

import "github.com/trunkline/trunkline/protocol"

// Port carries small payloads between brokers on connections of their own, without any bulk on them.
type Port struct {
	n  *Network
	fn func(from protocol.BrokerID, payload []byte)
}

// Liveness is the datagram-like port of the liveness detector.
func (n *Network) Liveness() *Port { return n.port }

// Send queues payload for a broker and reports whether it was queued: false if not connected, the queue is full or
// payload is longer than MaxLivenessBytes. It never blocks and does not keep payload.
func (p *Port) Send(to protocol.BrokerID, payload []byte) bool {
	peer := p.n.peer(to)
	if peer == nil || len(payload) > MaxLivenessBytes {
		return false
	}
	l := peer.links[laneLiveness]
	if !l.up.Load() {
		return false
	}
	b := getBuffer(frameHeader + len(payload))
	putHeader(b, frameLiveness, len(payload))
	copy(b[frameHeader:], payload)
	if !l.queue.put(b, false) {
		p.n.met.dropped.WithLabelValues(label(to), laneLiveness.String()).Inc()
		return false
	}
	return true
}

// Receive sets the function that gets every payload. It must be set before Start, must not block and must not
// keep the payload.
func (p *Port) Receive(fn func(from protocol.BrokerID, payload []byte)) { p.fn = fn }
