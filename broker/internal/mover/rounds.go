package mover

import (
	"sync"
	"time"
)

// roundLimit is how long a round may take for a replica to be called caught up: what it lacks is then what the leader appended within
// that time.
const roundLimit = time.Second

// rounds tells which replicas have caught up. In a round a replica gets what the leader had when the round began (Raft thesis, 4.2.1);
// who ends one within roundLimit has caught up. A round that takes longer is followed by the next, which is shorter as there is less to
// send. One entry for each replica asked about, until keep drops it. Safe for concurrent use.
type rounds struct {
	mu   sync.Mutex
	open map[replicaKey]*round // guarded by mu
}

type replicaKey struct{ shard, replica uint64 }

type round struct {
	target uint64 // the leader's last index when it began
	began  time.Time
	done   time.Time // when a round was last ended in time, zero: never
}

func newRounds() *rounds { return &rounds{open: make(map[replicaKey]*round)} }

// look takes in how far a replica is and reports whether it has caught up: it ended a round in time, not more than two roundLimits ago.
func (r *rounds) look(k replicaKey, match, last uint64, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	o, ok := r.open[k]
	if !ok {
		o = &round{target: last, began: now}
		r.open[k] = o
	}
	if match >= o.target {
		if now.Sub(o.began) <= roundLimit {
			o.done = now
		}
		o.target, o.began = last, now
	}
	return !o.done.IsZero() && now.Sub(o.done) <= 2*roundLimit
}

// keep drops the replicas of shards that have no move here any more.
func (r *rounds) keep(wanted func(shard uint64) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k := range r.open {
		if !wanted(k.shard) {
			delete(r.open, k)
		}
	}
}
