package partition

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/trunkline/trunkline/broker/internal/raftnode"
	"github.com/trunkline/trunkline/protocol"
)

const (
	// upkeepMoments is at how many moments of Config.UpkeepEvery partitions take their turns.
	upkeepMoments = 4
	// streamGrace is how long the Raft log behind a snapshot that was streamed is kept: the replica has to write it to its
	// disk before it asks for what follows.
	streamGrace = 15 * time.Second
	// maxHeld times CompactBytes, or the size of the partition if that is more, bounds how far a log may grow while a
	// snapshot is streamed.
	maxHeld = 8
)

// upkeep is the background work of a replica: retention while it leads, compaction of its Raft log always. It has no
// goroutine between its turns, only a timer.
type upkeep struct {
	maxAgeMs atomic.Uint64 // retention, 0: no limit
	maxBytes atomic.Uint64

	timer *time.Timer // guarded by Partition.mu

	// Owned by the turn. base is what had been applied at the last compaction, carried the bytes before base that may
	// still be in the Raft log.
	baseIndex, baseBytes, carried uint64

	opened   bool            // base was taken
	dropped  protocol.Offset // below which segments were dropped
	retained time.Duration   // Partition.age of the last retention
}

// start is called with Partition.mu held, as is stop.
func (u *upkeep) start(p *Partition) {
	u.timer = time.AfterFunc(u.interval(p), p.turn)
}

// stop lets a turn under way end by itself: it sees that the partition is closed.
func (u *upkeep) stop() { u.timer.Stop() }

// interval spreads the turns of many partitions, but over few moments, the same for all of them: waking the process costs
// far more than a turn that finds nothing to do.
func (u *upkeep) interval(p *Partition) time.Duration {
	every := p.cfg.UpkeepEvery
	now := time.Now()
	return now.Add(every/2 + rand.N(every)).Truncate(every / upkeepMoments).Sub(now)
}

// SetRetention says what the leader drops: records older than maxAge milliseconds and those beyond the newest maxBytes
// bytes. 0 is no limit. It takes effect at the next turn.
func (p *Partition) SetRetention(maxAgeMs, maxBytes uint64) {
	p.upkeep.maxAgeMs.Store(maxAgeMs)
	p.upkeep.maxBytes.Store(maxBytes)
}

// turn runs in the timer's goroutine; the next one is armed when it ends.
func (p *Partition) turn() {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.wg.Add(1)
	p.mu.Unlock()
	defer p.wg.Done()

	if p.age()-p.upkeep.retained >= p.cfg.RetentionEvery {
		p.upkeep.retained = p.age()
		p.retain()
	}
	p.drop()
	p.compact()

	p.mu.Lock()
	if !p.closed {
		p.upkeep.timer.Reset(p.upkeep.interval(p))
	}
	p.mu.Unlock()
}

// retain proposes a new start if this replica leads and whole segments are beyond the retention.
func (p *Partition) retain() {
	maxAge, maxBytes := p.upkeep.maxAgeMs.Load(), p.upkeep.maxBytes.Load()
	if _, _, leading := p.Leading(); !leading || maxAge == 0 && maxBytes == 0 {
		return
	}
	start, _ := p.fsm.Bounds()
	to := p.fsm.RetentionPoint(p.cfg.Now().UnixMilli(), maxAge, maxBytes)
	if to <= start {
		return
	}
	ctx, cancel := context.WithTimeout(p.ctx, p.cfg.PendingTimeout)
	defer cancel()
	if _, err := p.SetStart(ctx, to); errors.Is(err, protocol.ErrNotLeader) {
		return // whoever leads now does it
	} else if err != nil {
		p.log.Warn("retention failed", "start", start, "to", to, "err", err)
		return
	}
	p.log.Debug("retention", "start", start, "to", to)
}

// drop has the segments below the start deleted. The state machine does that whenever it syncs, but Dragonboat asks it to
// every three minutes, and not at all on an idle shard of one replica.
func (p *Partition) drop() {
	start, _ := p.fsm.Bounds()
	if start <= p.upkeep.dropped {
		return
	}
	if err := p.fsm.Sync(); err != nil { // not open yet, or failed: then the state machine has said so
		p.log.Debug("sync after retention failed", "start", start, "err", err)
		return
	}
	p.upkeep.dropped = start
}

// compact drops the older part of the Raft log once enough was applied.
func (p *Partition) compact() {
	u := &p.upkeep
	index, bytes := p.fsm.Applied(), p.fsm.AppliedBytes()
	if !u.opened {
		// What a restart left in the Raft log is not counted by anybody: take it for half of what may be there, so that
		// restarts do not put the first compaction off for ever.
		u.opened, u.baseBytes, u.carried = true, bytes, p.cfg.CompactBytes/2
		u.baseIndex = index - min(index, p.cfg.CompactEntries/2)
	}
	grown := u.carried + bytes - u.baseBytes
	keepFrom, due := compactionPoint(u.baseIndex, index, grown, p.cfg.CompactEntries, p.cfg.CompactBytes)
	if !due || p.held(keepFrom, grown) {
		return
	}
	err := p.cfg.Node.Compact(p.ctx, p.cfg.Shard, keepFrom)
	if err != nil && !errors.Is(err, raftnode.ErrNothingToCompact) {
		if p.ctx.Err() == nil {
			p.log.Warn("compaction failed", "keep_from", keepFrom, "applied", index, "err", err)
		}
		return
	}
	u.baseIndex, u.baseBytes, u.carried = index, bytes, 0
}

// held reports whether the Raft log is to be kept for a replica that is being brought up: streaming a large partition
// takes longer than writing what a compaction leaves, and then the replica, whole as it is, would have to begin again,
// for as long as the load lasts. A log that has outgrown the partition is worth less than a new snapshot.
func (p *Partition) held(keepFrom, grown uint64) bool {
	streamed, ok := p.fsm.Streaming(streamGrace)
	return ok && keepFrom > streamed+1 && grown < max(maxHeld*p.cfg.CompactBytes, uint64(p.fsm.LogBytes()))
}

// compactionPoint returns the first entry to keep, if bytes or entries applied since the entry base call for a
// compaction: about the newest half of either limit, entries taken as equally long.
func compactionPoint(base, index, bytes, maxEntries, maxBytes uint64) (keepFrom uint64, due bool) {
	entries := index - base
	if entries == 0 || entries < maxEntries && bytes < maxBytes {
		return 0, false
	}
	keep := maxEntries / 2
	if bytes > 0 { // bytes/entries is the mean length
		keep = min(keep, uint64(float64(maxBytes/2)*float64(entries)/float64(bytes)))
	}
	if keep >= index {
		return 0, false
	}
	return index - keep, true
}
