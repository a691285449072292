package planted

import (
	"fmt"

	"github.com/trunkline/trunkline/bench/driver"
)

// store appends a batch and returns the answers in its order. Here is all the misbehaviour but slowness.
func (p *partition) store(batch []item, acks []driver.Ack) []driver.Ack {
	for i := 0; i < len(batch); i++ {
		p.seen++
		if p.seen < p.next || p.system.profile == sound || p.system.profile == slow {
			acks = append(acks, p.append(batch[i]))
			continue
		}
		if p.system.profile == reorders {
			if i+1 == len(batch) || batch[i+1].p != batch[i].p {
				acks = append(acks, p.append(batch[i]))
				continue // the next chance comes
			}
			later := p.append(batch[i+1])
			acks = append(acks, p.append(batch[i]), later)
			i++
			p.seen++
		} else {
			acks = append(acks, p.spoil(batch[i]))
		}
		p.next += period
	}
	return acks
}

// append keeps the promises.
func (p *partition) append(it item) driver.Ack {
	if p.system.bytes.Load() >= maxBytes {
		return failed(errFull)
	}
	return driver.Ack{Partition: p.id, Offset: p.log.append(it.m.Payload)}
}

// spoil breaks one.
func (p *partition) spoil(it item) driver.Ack {
	ack := p.append(it)
	if ack.Err != nil {
		return ack
	}
	switch p.system.profile {
	case loses:
		p.log.hide(ack.Offset)
	case duplicates:
		p.append(it)
	case damages:
		p.log.damage(ack.Offset, p.seen/period)
	case refuses:
		return failed(fmt.Errorf("%w: planted, it is in the log", driver.ErrNotAppended))
	}
	return ack
}
