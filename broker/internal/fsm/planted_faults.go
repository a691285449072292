//go:build faults

package fsm

import (
	"github.com/trunkline/trunkline/broker/internal/failpoint"
	"github.com/trunkline/trunkline/protocol/batch"
)

// plantedReuse is bug.reuse-offset: as an epoch begins, the newest batch is cut off, and the next one gets its offsets. All replicas
// do the same.
func (a *applier) plantedReuse() error {
	if !failpoint.Bug("bug.reuse-offset") || a.st.next == a.st.start {
		return nil
	}
	newest, err := a.log.Read(a.st.next-1, 1, nil)
	if err != nil {
		return err
	}
	h, err := batch.ParseHeader(newest)
	if err != nil {
		return err
	}
	if err := a.log.Close(); err != nil {
		return err
	}
	a.st.next = max(h.BaseOffset, a.st.start)
	if a.log, err = a.m.openLog(a.m.generation, a.st); err != nil {
		return err
	}
	a.m.log.Store(a.log)
	return nil
}

// plantedOldEpoch is bug.old-epoch-writes: batches of an epoch that is over are appended as they come. Their producers' sequences
// are not moved: the leader of the old epoch has no say in those of the new one.
func (a *applier) plantedOldEpoch(c *command) error {
	if !failpoint.Bug("bug.old-epoch-writes") || c.kind != kindOps {
		return nil
	}
	for body := c.body; len(body) > 0; {
		op, payload, rest, _ := nextOp(body)
		body = rest
		if op != opAppend {
			continue
		}
		h, err := batch.Check(payload, len(payload))
		if err != nil {
			return err
		}
		h.BaseOffset, h.Epoch, h.AppendTime = a.st.next, a.st.epoch, max(c.timeMs, a.st.lastAppend)
		stamped := append([]byte(nil), payload...)
		batch.Stamp(stamped, h.BaseOffset, h.Epoch, h.AppendTime)
		if err := a.log.Append(stamped, h); err != nil {
			return err
		}
		a.st.next, a.st.lastAppend = h.Next(), h.AppendTime
	}
	return nil
}
