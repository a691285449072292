package fakebroker

import (
	"time"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
)

// part is a partition: its log and what the state machine knows. Guarded by Cluster.mu.
type part struct {
	c         *Cluster
	tp        protocol.TopicPartition
	leader    protocol.BrokerID
	epoch     protocol.Epoch
	lost      chan struct{} // closed when the leader changes
	appended  chan struct{} // closed when the log grows
	log       [][]byte
	start     protocol.Offset
	next      protocol.Offset
	producers map[protocol.ProducerID]*producer
	subs      map[string]*subscription
}

type producer struct {
	epoch protocol.ProducerEpoch
	next  protocol.Sequence
	runs  []run
}

// run says where a batch went.
type run struct {
	seq    protocol.Sequence
	count  uint32
	offset protocol.Offset
}

func newPart(c *Cluster, tp protocol.TopicPartition, leader protocol.BrokerID) *part {
	return &part{
		c: c, tp: tp, leader: leader, epoch: 1,
		lost: make(chan struct{}), appended: make(chan struct{}),
		producers: make(map[protocol.ProducerID]*producer), subs: make(map[string]*subscription),
	}
}

// lead gives the partition another leader.
func (p *part) lead(to protocol.BrokerID, epoch protocol.Epoch) {
	p.leader, p.epoch = to, epoch
	for _, s := range p.subs {
		s.reset()
	}
	close(p.lost)
	p.lost = make(chan struct{})
}

// refusal is what a node that does not lead says.
func (p *part) refusal() *protocol.Error {
	e := protocol.Errorf(protocol.CodeNotLeader, "%s is led elsewhere", p.tp)
	if !p.c.cfg.Lagging {
		e.Leader, e.Epoch = p.leader, p.epoch
	}
	return e
}

// open introduces a producer.
func (p *part) open(id protocol.ProducerID, epoch protocol.ProducerEpoch) (protocol.Sequence, error) {
	pr, ok := p.producers[id]
	if !ok {
		pr = &producer{epoch: epoch}
		p.producers[id] = pr
	}
	if epoch < pr.epoch {
		return 0, protocol.Errorf(protocol.CodeProducerFenced, "epoch %d, now %d", epoch, pr.epoch)
	}
	pr.epoch = epoch
	return pr.next, nil
}

// append applies the rules of sequences to one batch.
func (p *part) append(b []byte, h batch.Header) (offset protocol.Offset, duplicate bool, err error) {
	pr, ok := p.producers[h.Producer]
	if !ok {
		if h.BaseSequence != 0 {
			return 0, false, protocol.Errorf(protocol.CodeProducerUnknown, "%s is forgotten", h.Producer)
		}
		pr = &producer{epoch: h.ProducerEpoch}
		p.producers[h.Producer] = pr
	}
	switch {
	case h.ProducerEpoch < pr.epoch:
		return 0, false, protocol.Errorf(protocol.CodeProducerFenced, "epoch %d, now %d", h.ProducerEpoch, pr.epoch)
	case h.ProducerEpoch > pr.epoch:
		pr.epoch = h.ProducerEpoch
	}
	switch end := h.NextSequence(); {
	case h.BaseSequence == pr.next:
		offset = p.next
		stamped := append([]byte(nil), b...)
		batch.Stamp(stamped, offset, p.epoch, time.Now().UnixMilli())
		p.log = append(p.log, stamped)
		p.next += protocol.Offset(h.Count)
		pr.next = end
		pr.runs = append(pr.runs, run{h.BaseSequence, h.Count, offset})
		close(p.appended)
		p.appended = make(chan struct{})
		return offset, false, nil
	case end <= pr.next:
		for _, r := range pr.runs {
			if r.seq <= h.BaseSequence && end <= r.seq+protocol.Sequence(r.count) {
				return r.offset + protocol.Offset(h.BaseSequence-r.seq), true, nil
			}
		}
		return 0, false, protocol.Errorf(protocol.CodeProducerUnknown, "sequence %d is forgotten", h.BaseSequence)
	}
	return 0, false, protocol.Errorf(protocol.CodeOutOfSequence,
		"sequence %d, expected %d", h.BaseSequence, pr.next)
}

// truncate drops whole batches below an offset.
func (p *part) truncate(below protocol.Offset) {
	for len(p.log) > 0 {
		h, err := batch.ParseHeader(p.log[0])
		if err != nil || h.Next() > below {
			return
		}
		p.log = p.log[1:]
		p.start = h.Next()
	}
}

// read returns whole batches from the one that holds from, at least one if there is any.
func (p *part) read(from protocol.Offset, most int) ([]byte, protocol.Offset) {
	var out []byte
	at := from
	for _, b := range p.log {
		h, err := batch.ParseHeader(b)
		if err != nil || h.Next() <= from {
			continue
		}
		if len(out) > 0 && len(out)+len(b) > most {
			break
		}
		out = append(out, b...)
		at = h.Next()
	}
	return out, at
}

// offsetForTime finds the first batch that was appended at ms or later.
func (p *part) offsetForTime(ms int64) protocol.Offset {
	for _, b := range p.log {
		if h, err := batch.ParseHeader(b); err == nil && h.AppendTime >= ms {
			return h.BaseOffset
		}
	}
	return p.next
}
