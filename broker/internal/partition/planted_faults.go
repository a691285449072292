//go:build faults

package partition

import (
	"github.com/trunkline/trunkline/broker/internal/failpoint"
	"github.com/trunkline/trunkline/broker/internal/fsm"
	"github.com/trunkline/trunkline/protocol"
)

// planted is bug.ack-before-apply for one epoch: the reaper answers proposals of appends alone as soon as Raft has taken them, with
// the offsets that they will have if all goes well, and forgets them.
type planted struct {
	next protocol.Offset // that the next batch will have; 0: nothing was guessed since somebody waited
}

func (b *planted) acks(p *Partition, f *flight, s sent) bool {
	ops := *s.ops
	early := failpoint.Bug("bug.ack-before-apply")
	for i := range ops {
		early = early && ops[i].kind == opAppend
	}
	if !early {
		return false
	}
	if _, next := p.fsm.Bounds(); b.next < next {
		b.next = next
	}
	p.releaseAll(f.t, ops)
	for i := range ops {
		ops[i].answer(fsm.OpResult{A: uint64(b.next)}, f.epoch, nil)
		b.next += protocol.Offset(ops[i].header.Count)
	}
	putOps(s.ops)
	<-f.slots
	return true
}
