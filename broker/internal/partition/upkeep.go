package partition

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/trunkline/trunkline/broker/internal/raftnode"
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

	opened   bool          // base was taken
	retained time.Duration // Partition.age of the last retention
}

// start is called with Partition.mu held, as is stop.
func (u *upkeep) start(p *Partition) {
	u.timer = time.AfterFunc(u.interval(p), p.turn)
}

// stop lets a turn under way end by itself: it sees that the partition is closed.
func (u *upkeep) stop() { u.timer.Stop() }

// interval spreads the turns of many partitions.
func (u *upkeep) interval(p *Partition) time.Duration {
	every := p.cfg.UpkeepEvery
	return every/2 + rand.N(every)
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
	if _, err := p.SetStart(ctx, to); err != nil {
		p.log.Warn("retention failed", "start", start, "to", to, "err", err)
		return
	}
	p.log.Debug("retention", "start", start, "to", to)
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
	keepFrom, due := compactionPoint(u.baseIndex, index, u.carried+bytes-u.baseBytes, p.cfg.CompactEntries,
		p.cfg.CompactBytes)
	if !due {
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
