package fsm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	sm "github.com/lni/dragonboat/v4/statemachine"

	"github.com/trunkline/trunkline/broker/internal/seglog"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
)

// maxScratchBytes is the largest stamping buffer that is kept for the next Update.
const maxScratchBytes = 4 << 20

// scratch is memory for one running Update. Few apply workers serve many partitions, so it is shared by all machines.
type scratch struct {
	batch []byte // the batch that is being stamped: entry bytes are read-only, Raft still holds them
	word  [8]byte
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// applier applies the entries of one Update.
type applier struct {
	m       *Machine
	st      *state
	log     *seglog.Log
	scratch *scratch
}

// apply applies one entry and sets its result. An error is fatal: it means that this replica can not hold the state
// that the others will hold.
func (a *applier) apply(e *sm.Entry) error {
	if e.Index <= a.st.applied {
		return fmt.Errorf("an entry at or below the applied index %d", a.st.applied)
	}
	a.beginLink(e)
	c, err := parseCommand(e.Cmd)
	ops := 0
	if err == nil && c.kind == kindOps {
		ops, err = countOps(c.body)
	}
	switch {
	case errors.Is(err, ErrNewerCommand):
		return err
	case err != nil:
		e.Result = sm.Result{Value: ValueMalformed}
	case c.kind == kindEpochBegin:
		e.Result = a.beginEpoch(&c)
		if err := a.plantedReuse(); err != nil {
			return err
		}
	case protocol.Epoch(c.epoch) != a.st.epoch:
		e.Result = a.fenced()
		if err := a.plantedOldEpoch(&c); err != nil {
			return err
		}
	default:
		if e.Result, err = a.ops(&c, ops); err != nil {
			return err
		}
	}
	a.endLink(e)
	a.st.applied = e.Index
	return nil
}

// The chain hash: each entry adds a link SHA-256(previous link | index | first bytes of the command | per operation its
// head and first bytes, for an appended batch its stamped header | value | data). A batch's header holds the CRC of its
// body, so that the link stands for the whole batch and costs the same for a small one and a large one.

func (a *applier) beginLink(e *sm.Entry) {
	a.m.chain.Reset()
	a.m.chain.Write(a.st.hash[:])
	a.word(e.Index)
	a.m.chain.Write(e.Cmd[:min(len(e.Cmd), epochBeginSize)])
}

func (a *applier) endLink(e *sm.Entry) {
	a.word(e.Result.Value)
	a.m.chain.Write(e.Result.Data)
	a.m.chain.Sum(a.st.hash[:0])
}

func (a *applier) word(v uint64) {
	binary.BigEndian.PutUint64(a.scratch.word[:], v)
	a.m.chain.Write(a.scratch.word[:])
}

func (a *applier) beginEpoch(c *command) sm.Result {
	be := binary.BigEndian
	if !a.st.beginEpoch(c.epoch, be.Uint64(c.body[8:]), protocol.BrokerID(be.Uint64(c.body))) {
		return a.fenced()
	}
	return sm.Result{Value: ValueOK, Data: be.AppendUint64(nil, uint64(a.st.epoch))}
}

func (a *applier) fenced() sm.Result {
	return sm.Result{Value: ValueFenced, Data: appendFenced(make([]byte, 0, fencedSize), a.st.epoch, a.st.leader)}
}

// ops applies the operations of a command that countOps has checked.
func (a *applier) ops(c *command, n int) (sm.Result, error) {
	data := make([]byte, 0, n*opResultSize)
	for body := c.body; len(body) > 0; {
		op, payload, rest, _ := nextOp(body)
		linked := payload[:min(len(payload), batch.HeaderSize)]
		var r OpResult
		if op == opAppend {
			stamped, ar, err := a.append(payload, c.timeMs)
			if err != nil {
				return sm.Result{}, err
			}
			r = ar
			if stamped != nil {
				linked = stamped[:batch.HeaderSize]
			}
		} else {
			r = a.st.applyOp(op, payload)
		}
		a.m.chain.Write(body[:OpHeaderSize])
		a.m.chain.Write(linked)
		data = appendResult(data, r)
		body = rest
		if op == opSetStart && r.Code == 0 {
			if err := a.log.SetStart(a.st.start); err != nil {
				return sm.Result{}, err
			}
		}
	}
	return sm.Result{Value: ValueOK, Data: data}, nil
}

// append stamps and writes one batch if it is its producer's turn. stamped is the batch as written, nil when it was not;
// it is valid until the next call.
//
// The brokers' door has checked the batch already. It is checked again because one bad batch in the log would make
// every read of it fail, on every replica, until it is retained away.
func (a *applier) append(b []byte, leaderMs int64) (stamped []byte, r OpResult, err error) {
	h, err := batch.Check(b, protocol.MaxBatchBytesLimit)
	if err != nil {
		return nil, OpResult{Code: codeOf(err)}, nil
	}
	p, r, ok := a.st.admit(&h)
	if !ok {
		return nil, r, nil
	}
	stamped = append(a.scratch.batch[:0], b...)
	if cap(stamped) <= maxScratchBytes {
		a.scratch.batch = stamped
	}
	h.BaseOffset, h.Epoch, h.AppendTime = a.st.next, a.st.epoch, max(leaderMs, a.st.lastAppend)
	batch.Stamp(stamped, h.BaseOffset, h.Epoch, h.AppendTime)
	if err := a.log.Append(stamped, h); err != nil {
		return nil, r, err
	}
	return stamped, a.st.appended(p, h.Count, h.AppendTime), nil
}

// codeOf returns the code for a batch that was refused.
func codeOf(err error) protocol.Code {
	var perr *protocol.Error
	if errors.As(err, &perr) {
		return perr.Code
	}
	return protocol.CodeCorruptBatch
}
