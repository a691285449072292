package raftnet

import (
	"sync"
	"time"

	"github.com/trunkline/trunkline/protocol"
)

// roundTripSamples are the echoes that count: the lowest of them tells the way. A higher one tells that a processor or a queue was busy
// for that moment. With echoLiveness between them a way that became longer is known two seconds later.
const roundTripSamples = 4

// roundTrips are the newest echoes of a peer's liveness connection, kept through reconnects. Safe for concurrent use.
type roundTrips struct {
	mu   sync.Mutex
	last [roundTripSamples]time.Duration // a ring
	n    int                             // ever taken in
}

func (r *roundTrips) observe(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last[r.n%roundTripSamples] = d
	r.n++
}

// lowest returns 0 while there was no echo.
func (r *roundTrips) lowest() (d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, x := range r.last[:min(r.n, roundTripSamples)] {
		if i == 0 || x < d {
			d = x
		}
	}
	return d
}

// RoundTrip is how long a small frame takes to a broker and back, as lately measured; 0 if it is not known.
func (p *Port) RoundTrip(to protocol.BrokerID) time.Duration {
	peer := p.n.peer(to)
	if peer == nil {
		return 0
	}
	return peer.trips.lowest()
}
