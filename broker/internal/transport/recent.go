package transport

import (
	"net/netip"
	"time"
)

const (
	// retryAge is how many times a handshake's timeout a Retry's token counts in quic-go.
	retryAge = 2
	// maxRecent bounds the addresses of each of the two generations, 32 bytes each beside what a map takes.
	maxRecent = 1 << 16
)

// recent remembers addresses for at least age, or until maxRecent others have come. It is not safe for concurrent use.
type recent struct {
	age       time.Duration
	since     time.Time // when now began
	now, last map[netip.AddrPort]struct{}
}

func newRecent(age time.Duration) *recent { return &recent{age: age} }

func (r *recent) add(a netip.AddrPort, at time.Time) {
	if r.now == nil || at.Sub(r.since) >= r.age || len(r.now) == maxRecent {
		r.now, r.last, r.since = make(map[netip.AddrPort]struct{}), r.now, at
	}
	r.now[a] = struct{}{}
}

func (r *recent) has(a netip.AddrPort) bool {
	_, now := r.now[a]
	_, last := r.last[a]
	return now || last
}
