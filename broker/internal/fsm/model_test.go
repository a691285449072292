package fsm

import (
	"errors"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
)

// model is a second, dumb state machine: it keeps every record for ever and derives the rest by looking through them.
type model struct {
	epoch         protocol.Epoch
	leader        protocol.BrokerID
	term, attempt uint64

	records    []modelRecord // records[i] has offset i
	start      protocol.Offset
	lastAppend int64

	producers    map[protocol.ProducerID]*modelProducer
	maxProducers int
	uses         int

	cursors    map[string]Cursor
	maxCursors int
	retired    protocol.Activation
}

type modelRecord struct {
	producer      protocol.ProducerID
	producerEpoch protocol.ProducerEpoch
	sequence      protocol.Sequence
	base          protocol.Offset // of its batch
	epoch         protocol.Epoch
	appendTime    int64
}

type modelProducer struct {
	epoch   protocol.ProducerEpoch
	offsets []protocol.Offset // offsets[i] is where sequence i went
	used    int
}

func newModel(maxProducers, maxCursors int) *model {
	return &model{
		producers: map[protocol.ProducerID]*modelProducer{}, maxProducers: maxProducers,
		cursors: map[string]Cursor{}, maxCursors: maxCursors,
	}
}

func (m *model) next() protocol.Offset { return protocol.Offset(len(m.records)) }

func (m *model) beginEpoch(term, attempt uint64, broker protocol.BrokerID) bool {
	if term < m.term || (term == m.term && attempt <= m.attempt) {
		return false
	}
	m.term, m.attempt, m.leader = term, attempt, broker
	m.epoch++
	return true
}

// use returns the producer, created if there is room, or nil.
func (m *model) use(id protocol.ProducerID, epoch protocol.ProducerEpoch) *modelProducer {
	p := m.producers[id]
	if p == nil {
		if len(m.producers) >= m.maxProducers {
			var victim protocol.ProducerID
			for id, p := range m.producers {
				if !id.Named() && (victim == 0 || p.used < m.producers[victim].used) {
					victim = id
				}
			}
			if victim == 0 {
				return nil
			}
			delete(m.producers, victim)
		}
		p = &modelProducer{epoch: epoch}
		m.producers[id] = p
	}
	m.uses++
	p.used = m.uses
	return p
}

func (m *model) append(b []byte, timeMs int64) OpResult {
	h, err := batch.Check(b, protocol.MaxBatchBytesLimit)
	if err != nil {
		var perr *protocol.Error
		if !errors.As(err, &perr) {
			panic(err)
		}
		return OpResult{Code: perr.Code}
	}
	p := m.producers[h.Producer]
	switch {
	case p == nil && h.BaseSequence > 0:
		return OpResult{Code: protocol.CodeProducerUnknown}
	case p != nil && h.ProducerEpoch < p.epoch:
		return OpResult{Code: protocol.CodeProducerFenced, A: uint64(p.epoch)}
	}
	if p = m.use(h.Producer, h.ProducerEpoch); p == nil {
		return OpResult{Code: protocol.CodeLimitExceeded}
	}
	p.epoch = h.ProducerEpoch
	first, last := int(h.BaseSequence), int(h.BaseSequence)+int(h.Count)-1
	switch known := len(p.offsets); {
	case first < known && last < known:
		return p.duplicate(first, last)
	case first != known:
		return OpResult{Code: protocol.CodeOutOfSequence, A: uint64(known)}
	}
	m.lastAppend = max(m.lastAppend, timeMs)
	base := m.next()
	for i := range int(h.Count) {
		p.offsets = append(p.offsets, m.next())
		m.records = append(m.records, modelRecord{
			producer: h.Producer, producerEpoch: h.ProducerEpoch, sequence: h.BaseSequence + protocol.Sequence(i),
			base: base, epoch: m.epoch, appendTime: m.lastAppend,
		})
	}
	return OpResult{A: uint64(base)}
}

func (p *modelProducer) duplicate(first, last int) OpResult {
	remembered := first >= firstRemembered(p.offsets)
	for i := first + 1; i <= last; i++ {
		remembered = remembered && p.offsets[i] == p.offsets[i-1]+1
	}
	if !remembered {
		return OpResult{Code: protocol.CodeProducerUnknown}
	}
	return OpResult{A: uint64(p.offsets[first]), B: 1}
}

func (m *model) producerOpen(id protocol.ProducerID, epoch protocol.ProducerEpoch) OpResult {
	if p := m.producers[id]; p != nil && epoch < p.epoch {
		return OpResult{Code: protocol.CodeProducerFenced, A: uint64(p.epoch)}
	}
	p := m.use(id, epoch)
	if p == nil {
		return OpResult{Code: protocol.CodeLimitExceeded}
	}
	p.epoch = epoch
	return OpResult{A: uint64(len(p.offsets))}
}

func (m *model) cursorOpen(name string, ifNew protocol.Offset) OpResult {
	c, ok := m.cursors[name]
	if !ok {
		switch {
		case !protocol.ValidName(name):
			return OpResult{Code: protocol.CodeInvalidName}
		case len(m.cursors) == m.maxCursors:
			return OpResult{Code: protocol.CodeLimitExceeded}
		case ifNew < m.start:
			ifNew = m.start
		case ifNew > m.next():
			ifNew = m.next()
		}
		c = Cursor{Offset: ifNew, Activation: m.retired}
		m.cursors[name] = c
	}
	return OpResult{A: uint64(c.Offset), B: uint64(c.Activation)}
}

func (m *model) cursorActivate(name string) OpResult {
	c, ok := m.cursors[name]
	if !ok {
		return OpResult{Code: protocol.CodeNotFound}
	}
	c.Activation++
	m.cursors[name] = c
	return OpResult{A: uint64(c.Activation), B: uint64(c.Offset)}
}

func (m *model) cursorAck(name string, a protocol.Activation, o protocol.Offset) OpResult {
	c, ok := m.cursors[name]
	switch {
	case !ok:
		return OpResult{Code: protocol.CodeNotFound}
	case a != c.Activation:
		return OpResult{Code: protocol.CodeStaleActivation, A: uint64(c.Offset), B: uint64(c.Activation)}
	case o > m.next():
		return OpResult{Code: protocol.CodeOffsetOutOfRange, A: uint64(c.Offset), B: uint64(c.Activation)}
	}
	c.Offset = max(c.Offset, o)
	m.cursors[name] = c
	return OpResult{A: uint64(c.Offset), B: uint64(c.Activation)}
}

func (m *model) cursorDelete(name string) OpResult {
	c, ok := m.cursors[name]
	if !ok {
		return OpResult{}
	}
	m.retired = max(m.retired, c.Activation)
	delete(m.cursors, name)
	return OpResult{A: 1}
}

func (m *model) setStart(o protocol.Offset) OpResult {
	if o > m.next() {
		return OpResult{Code: protocol.CodeOffsetOutOfRange, A: uint64(m.start)}
	}
	m.start = max(m.start, o)
	return OpResult{A: uint64(m.start)}
}
