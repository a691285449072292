package fsm

import (
	"slices"

	"github.com/trunkline/trunkline/protocol"
)

// Cursor is the state of one subscription on the partition.
type Cursor struct {
	Offset     protocol.Offset     // records below are acknowledged
	Activation protocol.Activation // the current turn; 0: no consumer was active yet
}

// cursorTable holds the cursors of a partition.
type cursorTable struct {
	limit  int
	byName map[string]*Cursor
	// retired is the greatest activation of a deleted subscription. A new one goes on from there, so that a consumer of
	// a deleted subscription cannot acknowledge on its successor of the same name.
	retired protocol.Activation
}

func newCursorTable(limit int) cursorTable {
	return cursorTable{limit: limit, byName: make(map[string]*Cursor)}
}

// open returns the cursor of name and creates it at ifNew, brought into [start, next]. At the bound a new one is
// refused with CodeLimitExceeded.
func (t *cursorTable) open(name []byte, ifNew, start, next protocol.Offset) OpResult {
	c, ok := t.byName[string(name)]
	if !ok {
		if !protocol.ValidName(string(name)) {
			return OpResult{Code: protocol.CodeInvalidName}
		}
		if len(t.byName) >= t.limit {
			return OpResult{Code: protocol.CodeLimitExceeded}
		}
		c = &Cursor{Offset: min(max(ifNew, start), next), Activation: t.retired}
		t.byName[string(name)] = c
	}
	return OpResult{A: uint64(c.Offset), B: uint64(c.Activation)}
}

func (t *cursorTable) activate(name []byte) OpResult {
	c, ok := t.byName[string(name)]
	if !ok {
		return OpResult{Code: protocol.CodeNotFound}
	}
	c.Activation++
	return OpResult{A: uint64(c.Activation), B: uint64(c.Offset)}
}

// ack moves the cursor of name forward. One that is there already, or further, stays: a repeat is no error.
func (t *cursorTable) ack(name []byte, a protocol.Activation, offset, next protocol.Offset) OpResult {
	c, ok := t.byName[string(name)]
	if !ok {
		return OpResult{Code: protocol.CodeNotFound}
	}
	r := OpResult{B: uint64(c.Activation)}
	switch {
	case a != c.Activation:
		r.Code = protocol.CodeStaleActivation
	case offset > next:
		r.Code = protocol.CodeOffsetOutOfRange
	case offset > c.Offset:
		c.Offset = offset
	}
	r.A = uint64(c.Offset)
	return r
}

// remove forgets name. That it is not there is no error: the operation may be a repeat.
func (t *cursorTable) remove(name []byte) OpResult {
	c, ok := t.byName[string(name)]
	if !ok {
		return OpResult{}
	}
	t.retired = max(t.retired, c.Activation)
	delete(t.byName, string(name))
	return OpResult{A: 1}
}

// names returns the names of all subscriptions in order.
func (t *cursorTable) names() []string {
	names := make([]string, 0, len(t.byName))
	for n := range t.byName {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}
