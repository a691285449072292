package inproc

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/fsm"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
)

// record is what a replica has at one offset.
type record struct {
	producer protocol.ProducerID
	seq      protocol.Sequence
}

// check ends the load and requires that every replica agrees with what the producers know, and with the others.
func (c *cluster) check(u *load) {
	c.t.Helper()
	u.finish()
	c.settle()
	require.Empty(c.t, c.findings(u), "seed %d", c.seed)
	u.mu.Lock()
	defer u.mu.Unlock()
	c.t.Logf("%d batches acknowledged, %d recognised as repeats, %d epochs of producers begun", u.acks, u.duplicates, u.reopened)
}

// findings compares all replicas with what the producers know, and with each other. Nothing is published meanwhile.
func (c *cluster) findings(u *load) []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	wrong := slices.Clone(u.wrong)
	var first []record
	from := protocol.Offset(0)
	for i, l := range c.running() {
		start, records, err := readReplica(l.m, u.bytes)
		if err != nil {
			wrong = append(wrong, fmt.Sprintf("broker %d: %v", l.id, err))
		}
		for _, w := range u.judge(start, records) {
			wrong = append(wrong, fmt.Sprintf("broker %d: %s", l.id, w))
		}
		if i > 0 && (from != start || !slices.Equal(first, records)) {
			wrong = append(wrong, fmt.Sprintf("broker %d has other records than broker %d (I3)", l.id, c.running()[0].id))
		}
		first, from = records, start
	}
	return wrong
}

// settle waits until all three replicas have applied the same, and compares their hashes (I10).
func (c *cluster) settle() {
	c.t.Helper()
	require.Len(c.t, c.running(), len(brokers), "seed %d", c.seed)
	c.eventually("the replicas do not come to the same", func() bool {
		all := c.running()
		a, hash := all[0].m.Hash()
		for _, l := range all[1:] {
			b, other := l.m.Hash()
			if a != b {
				return false
			}
			require.Equal(c.t, hash, other, "seed %d: brokers %d and %d at index %d", c.seed, all[0].id, l.id, a)
		}
		return c.serving(0) != nil
	})
}

// readReplica reads everything that a replica has and checks that offsets are dense (I6) and values whole.
func readReplica(m *fsm.Machine, size int) (start protocol.Offset, out []record, err error) {
	start, next := m.Bounds()
	for at := start; at < next; {
		raw, err := m.Read(at, 1<<20, nil)
		if err != nil || len(raw) == 0 {
			return start, out, fmt.Errorf("offset %d of %d: %d bytes, %w", at, next, len(raw), err)
		}
		for len(raw) > 0 {
			var one []byte
			if one, raw, err = batch.Split(raw); err != nil {
				return start, out, err
			}
			it, err := batch.Records(one, batch.ReadOptions{})
			if err != nil {
				return start, out, fmt.Errorf("offset %d: %w", at, err)
			}
			h := it.Header()
			if h.BaseOffset > at || at == start && h.Next() <= at || at != start && h.BaseOffset != at {
				return start, out, fmt.Errorf("offset %d follows %d (I6)", h.BaseOffset, at)
			}
			for seq := h.BaseSequence; ; seq++ {
				r, ok := it.Next()
				if !ok {
					break
				}
				if !bytes.Equal(r.Value, value(h.Producer, seq, size)) {
					return start, out, fmt.Errorf("producer %d sequence %d holds another value (I2)", h.Producer, seq)
				}
				if h.BaseOffset+protocol.Offset(seq-h.BaseSequence) >= start {
					out = append(out, record{h.Producer, seq})
				}
			}
			at = h.Next()
		}
	}
	return start, out, nil
}

// judge compares a replica with what the producers sent and were told. u.mu is held.
func (u *load) judge(start protocol.Offset, records []record) (wrong []string) {
	blame := func(format string, args ...any) {
		if len(wrong) < maxWrong {
			wrong = append(wrong, fmt.Sprintf(format, args...))
		}
	}
	where := map[record]protocol.Offset{}
	newest := map[protocol.ProducerID]protocol.Sequence{}
	for i, r := range records {
		at := start + protocol.Offset(i)
		if before, twice := where[r]; twice {
			blame("producer %d sequence %d is at %d and at %d (I5)", r.producer, r.seq, before, at)
			continue
		}
		where[r] = at
		if seq, any := newest[r.producer]; any && r.seq != seq+1 || !any && start == 0 && r.seq != 0 {
			blame("producer %d: sequence %d at %d follows %d (I4)", r.producer, r.seq, at, seq)
		}
		newest[r.producer] = r.seq
	}
	for id, batches := range u.batches {
		for _, b := range batches {
			at, there := where[record{id, b.seq}]
			switch {
			case b.told && b.offset < start: // dropped by retention
			case b.acked && !there && (b.told || start == 0):
				blame("producer %d sequence %d was acknowledged at %d and is lost (I1)", id, b.seq, b.offset)
			case b.told && at != b.offset:
				blame("producer %d sequence %d was told %d and is at %d (I1)", id, b.seq, b.offset, at)
			case there && at < b.floor:
				blame("producer %d sequence %d is at %d, before what had been acknowledged, %d (I8)", id, b.seq, at, b.floor)
			}
		}
		if last := batches[len(batches)-1]; newest[id] >= last.seq+protocol.Sequence(last.count) {
			blame("producer %d never sent sequence %d (I2)", id, newest[id])
		}
	}
	for id := range newest {
		if u.batches[id] == nil {
			blame("nobody is producer %d (I2)", id)
		}
	}
	return wrong
}
