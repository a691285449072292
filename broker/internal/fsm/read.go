package fsm

import (
	"errors"
	"fmt"

	"github.com/trunkline/trunkline/broker/internal/seglog"
	"github.com/trunkline/trunkline/protocol"
)

// Status is a consistent view of a replica, for comparison with others.
type Status struct {
	Applied     uint64
	Hash        [32]byte
	Epoch       protocol.Epoch
	Leader      protocol.BrokerID
	Start, Next protocol.Offset
}

// StatusQuery is the query that Lookup answers, with a Status.
type StatusQuery struct{}

// Lookup implements statemachine.IOnDiskStateMachine.
func (m *Machine) Lookup(query any) (any, error) {
	if _, ok := query.(StatusQuery); !ok {
		return nil, fmt.Errorf("fsm: Lookup was asked for a %T", query)
	}
	if m.log.Load() == nil {
		return nil, ErrClosed
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	s := &m.st
	return Status{Applied: s.applied, Hash: s.hash, Epoch: s.epoch, Leader: s.leader, Start: s.start, Next: s.next}, nil
}

// ReplaysTo says that the commands up to the Raft index were committed before this start, as the log here knows: until they are
// applied, the machine is behind itself.
func (m *Machine) ReplaysTo(index uint64) { m.replaysTo.Store(index) }

// Ready returns why what the machine tells is not what this replica holds: ErrClosed or ErrReplaying; nil if it is. It never waits.
// A log that is not open, or not yet replayed, looks like a shorter one to Bounds and Applied.
func (m *Machine) Ready() error {
	switch {
	case m.log.Load() == nil:
		return ErrClosed
	case m.applied.Load() < m.replaysTo.Load():
		return ErrReplaying
	}
	return nil
}

// Bounds returns the first offset that is kept and the offset of the next record, zeros before Open. It never waits.
func (m *Machine) Bounds() (start, next protocol.Offset) {
	s := m.start.Load() // before next: see publish
	return protocol.Offset(s), protocol.Offset(m.next.Load())
}

// Leader returns the current epoch and the broker that began it; zeros if there was none yet. It never waits.
func (m *Machine) Leader() (protocol.Epoch, protocol.BrokerID) {
	l := m.leader.Load()
	return l.epoch, l.broker
}

// Applied returns the Raft index of the last entry applied. It never waits.
func (m *Machine) Applied() uint64 { return m.applied.Load() }

// AppliedBytes returns the bytes of the commands applied since Open, for compacting the Raft log by size.
func (m *Machine) AppliedBytes() uint64 { return m.appliedBytes.Load() }

// Appended returns a channel that is closed when Bounds' next has grown after the call. Get it first, then look. After
// Close it is closed at once.
func (m *Machine) Appended() <-chan struct{} { return m.appended.wait() }

// Hash returns the chain hash of everything applied up to the Raft index applied. Replicas with the same applied index
// must have the same hash.
func (m *Machine) Hash() (applied uint64, hash [32]byte) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.st.applied, m.st.hash
}

// Producer returns what the partition knows of a producer.
func (m *Machine) Producer(id protocol.ProducerID) (protocol.ProducerEpoch, protocol.Sequence, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	p, ok := m.st.producers.byID[id]
	if !ok {
		return 0, 0, false
	}
	return p.epoch, p.next, true
}

// Cursor returns the cursor of a subscription.
func (m *Machine) Cursor(subscription string) (Cursor, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	c, ok := m.st.cursors.byName[subscription]
	if !ok {
		return Cursor{}, false
	}
	return *c, true
}

// Cursors returns a copy of all cursors.
func (m *Machine) Cursors() map[string]Cursor {
	m.mu.RLock()
	defer m.mu.RUnlock()
	all := make(map[string]Cursor, len(m.st.cursors.byName))
	for name, c := range m.st.cursors.byName {
		all[name] = *c
	}
	return all
}

// Read appends whole batches to dst, beginning with the one that contains from; see seglog.Log.Read. All of them are
// committed. What is damaged is repaired first, see healer.
func (m *Machine) Read(from protocol.Offset, maxBytes int, dst []byte) ([]byte, error) {
	var out []byte
	err := m.withLog(func(l *seglog.Log) (err error) {
		out, err = l.Read(from, maxBytes, dst)
		return err
	})
	if err != nil {
		return dst, err
	}
	return out, nil
}

// OffsetForTime returns the first offset whose batch was appended at ms or later, next if there is none.
func (m *Machine) OffsetForTime(ms int64) (protocol.Offset, error) {
	var o protocol.Offset
	err := m.withLog(func(l *seglog.Log) (err error) {
		o, err = l.OffsetForTime(ms)
		return err
	})
	return o, err
}

// LogBytes returns the size of the log's segments, 0 when there is none.
func (m *Machine) LogBytes() int64 {
	if l := m.log.Load(); l != nil {
		return l.Bytes()
	}
	return 0
}

// RetentionPoint returns where the start should be by age and size; see seglog.Log.RetentionPoint.
func (m *Machine) RetentionPoint(nowMs int64, maxAgeMs, maxBytes uint64) protocol.Offset {
	if l := m.log.Load(); l != nil {
		return l.RetentionPoint(nowMs, maxAgeMs, maxBytes)
	}
	return 0
}

// withLog calls read with the current log. A reader that got hold of a log just before a received snapshot replaced it
// finds it closed and looks again; logs are replaced one at a time and rarely, so that this ends.
func (m *Machine) withLog(read func(*seglog.Log) error) error {
	for {
		l := m.log.Load()
		if l == nil {
			return ErrClosed
		}
		err := m.healed(l, func() error { return read(l) })
		if err == nil || !errors.Is(err, seglog.ErrClosed) {
			return err
		}
		if m.log.Load() == l {
			return err // closed under us and not replaced: a defect, but no reason to spin
		}
	}
}
