package verify

import "sync/atomic"

// RealTime checks that a log grows in real time: what was acknowledged before another publish began stands before it.
//
//	floor := r.Began(p)  ... publish ...  r.Acked(p, floor, offset)
//
// A leader that gives away an offset again, and a deposed one that still acknowledges, are found at once and not only when
// consumers come there.
//
// Cost: one atomic operation for Began, two for Acked. Memory: 8 bytes a partition, and 8 bytes that the caller keeps for each
// publish under way. Both may be called from any goroutine. The call of Began must come before the record is handed over, that of
// Acked after the acknowledgement came: publishes that overlap are not compared.
type RealTime struct {
	tops []atomic.Int64 // by partition: one behind the highest acknowledged offset
	findings
}

// Floor is below where a publish must not be acknowledged.
type Floor int64

// NewRealTime returns a checker for partitions that are numbered from 0.
func NewRealTime(partitions int) *RealTime { return &RealTime{tops: make([]atomic.Int64, partitions)} }

// Began returns the floor of a publish that is about to begin.
func (r *RealTime) Began(partition int32) Floor { return Floor(r.tops[partition].Load()) }

// Acked judges the offset at which that publish was acknowledged, once for each publish. A publish that was repeated counts from
// its first attempt on.
func (r *RealTime) Acked(partition int32, floor Floor, offset int64) {
	r.checked.Add(1)
	if offset < int64(floor) {
		r.note("partition %d offset %d was acknowledged to a publish that began after offset %d was acknowledged",
			partition, offset, int64(floor)-1)
	}
	top := &r.tops[partition]
	for was := top.Load(); offset >= was && !top.CompareAndSwap(was, offset+1); {
		was = top.Load()
	}
}
