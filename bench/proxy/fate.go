package proxy

import (
	"math/rand/v2"
	"sync"
	"time"
)

// Road is what happens to the datagrams of one direction. Probabilities are from 0 to 1 and independent of each other. The zero
// value passes everything on at once.
type Road struct {
	Loss      float64
	Duplicate float64       // the copy comes directly after it
	Reorder   float64       // it comes behind those of the next Behind
	Corrupt   float64       // some bits of one byte are flipped
	Delay     time.Duration // of each
	Jitter    time.Duration // the delay is drawn evenly from Delay-Jitter to Delay+Jitter; the order stays
	Blackhole bool          // nothing passes
}

// Behind is how much longer a datagram stays that is to be overtaken.
const Behind = 10 * time.Millisecond

// fate is what becomes of one datagram.
type fate struct {
	lost    bool
	doubled bool
	damaged bool
	place   uint64    // of the damage
	due     time.Time // not before
	late    bool      // to be overtaken
	wait    bool      // it cannot go now
}

// lane decides about the datagrams of one client in one direction. Safe for concurrent use.
type lane struct {
	mu      sync.Mutex
	random  *rand.Rand // guarded by mu like all below
	last    time.Time  // when the last one that keeps its place is due
	waiting int        // datagrams that keep their place and are not yet sent
}

func newLane(seed, client uint64, d Direction) *lane {
	return &lane{random: rand.New(rand.NewPCG(seed, client<<1|uint64(d)))}
}

// next decides about the next datagram. It takes the same number of draws for each, so that a change of the settings changes
// nothing about what is drawn later.
func (l *lane) next(r *Road, now time.Time) fate {
	l.mu.Lock()
	defer l.mu.Unlock()
	draw := l.random.Float64
	f := fate{lost: draw() < r.Loss, doubled: draw() < r.Duplicate, late: draw() < r.Reorder, damaged: draw() < r.Corrupt}
	delay := r.Delay + time.Duration((2*draw()-1)*float64(r.Jitter))
	f.place = l.random.Uint64()
	if f.lost || r.Blackhole {
		return f
	}
	f.due = now.Add(max(delay, 0))
	if f.due.Before(l.last) {
		f.due = l.last
	}
	if f.late {
		f.due = f.due.Add(Behind)
		f.wait = true
		return f
	}
	l.last = f.due
	if f.wait = l.waiting > 0 || f.due.After(now); f.wait {
		l.waiting++
	}
	return f
}

// gone takes note that a datagram that waited, and was not late, was sent or dropped.
func (l *lane) gone() {
	l.mu.Lock()
	l.waiting--
	l.mu.Unlock()
}

// damage flips one to eight bits of one byte.
func (f *fate) damage(datagram []byte) {
	if len(datagram) > 0 {
		datagram[(f.place>>8)%uint64(len(datagram))] ^= byte(1 + f.place%255)
	}
}
