package verify

import (
	"slices"
	"sync"
)

// Progress checks that no replica goes back, and that nothing which any replica has shown is missing later. It is fed with what
// each replica says of itself while the run goes on.
//
//	regress    while a process lives, none of its replica's leader epoch, applied index, next offset and start goes back
//	start      no replica shows a start above its next offset
//	kept       a replica in leader epoch e holds everything that any replica held in an epoch before e
//
// The last one needs no clock: a replica that has applied the beginning of epoch e has applied all that stood before it, and one
// that has not has nothing that stands behind it. It finds an entry that was applied somewhere and then overwritten, and a
// log that was cut and not filled again, at the first leader change after it.
//
// A process that starts again may begin lower: it replays. Its lives are told apart by Observation.Life.
//
// A replica says its epoch first and its offset after that, and both may have moved in between. So the epoch counts as the
// lowest that the offset can belong to, and the epoch of the replica's next observation as the highest.
//
// Cost: constant, at most maxEpochs steps for each observation. Memory: about 24 bytes for each of the last maxEpochs epochs of a
// partition, and 64 bytes a replica. Observe may be called from any goroutine; for one replica in the order of the observations.
type Progress struct {
	mu       sync.Mutex
	replicas map[replicaOf]Observation // the newest; guarded by mu
	epochs   map[int32]*epochsOf       // by partition; guarded by mu
	findings
}

// maxEpochs is how many of a partition's latest leader epochs are told apart; of those before only the highest offset is kept.
const maxEpochs = 64

type replicaOf struct {
	broker, partition int32
}

// Observation is what one replica says of itself at one moment.
type Observation struct {
	Broker    int32
	Partition int32
	Life      uint64 // of the process; a later one is another number
	Epoch     uint64 // newest leader epoch that it has applied
	Applied   uint64 // Raft index
	Start     int64
	Next      int64
}

// epochsOf is what replicas of one partition held in each epoch.
type epochsOf struct {
	before int64 // the highest next offset of epochs that are not told apart any more
	list   []epochRange
}

type epochRange struct {
	epoch   uint64
	highest int64 // next offset that a replica had in this epoch at the latest; -1: none is known
	lowest  int64 // next offset that a replica had in this epoch at the earliest; -1: none is known
}

// NewProgress returns a checker that has seen nothing.
func NewProgress() *Progress {
	return &Progress{replicas: map[replicaOf]Observation{}, epochs: map[int32]*epochsOf{}}
}

// Observe judges one observation.
func (p *Progress) Observe(o Observation) {
	p.checked.Add(1)
	p.mu.Lock()
	defer p.mu.Unlock()
	if o.Start > o.Next {
		p.note("broker %d partition %d: its start %d is above its next offset %d", o.Broker, o.Partition, o.Start, o.Next)
	}
	e := p.epochs[o.Partition]
	if e == nil {
		e = &epochsOf{before: -1}
		p.epochs[o.Partition] = e
	}
	who := replicaOf{o.Broker, o.Partition}
	if was, ok := p.replicas[who]; ok && was.Life == o.Life {
		p.compare(was, o)
		p.atMost(e, was, o.Epoch)
	}
	p.replicas[who] = o
	p.atLeast(e, o)
}

// compare looks for what went back within one life.
func (p *Progress) compare(was, is Observation) {
	for _, v := range []struct {
		what    string
		was, is uint64
	}{
		{"leader epoch", was.Epoch, is.Epoch}, {"applied index", was.Applied, is.Applied},
		{"start", uint64(was.Start), uint64(is.Start)}, {"next offset", uint64(was.Next), uint64(is.Next)},
	} {
		if v.is < v.was {
			p.note("broker %d partition %d: its %s went back from %d to %d", is.Broker, is.Partition, v.what, v.was, v.is)
		}
	}
}

// atLeast judges that a replica in an epoch holds all of earlier epochs.
func (p *Progress) atLeast(e *epochsOf, o Observation) {
	held := e.before
	if len(e.list) > 0 && o.Epoch < e.list[0].epoch {
		held = -1 // before may be of later epochs than this one
	}
	for _, r := range e.list {
		if r.epoch < o.Epoch {
			held = max(held, r.highest)
		}
	}
	if o.Next < held {
		p.note("broker %d partition %d: in epoch %d it holds offsets below %d, and before that epoch others held them below %d", o.Broker,
			o.Partition, o.Epoch, o.Next, held)
	}
	if r := e.at(o.Epoch); r != nil && (r.lowest < 0 || o.Next < r.lowest) {
		r.lowest = o.Next
	}
}

// atMost notes that a replica held something in the given epoch or an earlier one, and judges that later epochs hold it.
func (p *Progress) atMost(e *epochsOf, o Observation, epoch uint64) {
	r := e.at(epoch)
	if r == nil {
		e.before = max(e.before, o.Next)
	} else {
		r.highest = max(r.highest, o.Next)
	}
	for _, later := range e.list {
		if later.epoch > epoch && later.lowest >= 0 && later.lowest < o.Next {
			p.note("broker %d partition %d: by epoch %d it held offsets below %d, and in epoch %d another holds them below %d", o.Broker,
				o.Partition, epoch, o.Next, later.epoch, later.lowest)
			return
		}
	}
}

// at returns the entry of an epoch, a new one if need be; nil if the epoch is too old to be told apart.
func (e *epochsOf) at(epoch uint64) *epochRange {
	i, ok := slices.BinarySearchFunc(e.list, epoch, func(r epochRange, epoch uint64) int {
		switch {
		case r.epoch < epoch:
			return -1
		case r.epoch > epoch:
			return 1
		}
		return 0
	})
	if ok {
		return &e.list[i]
	}
	if i == 0 && len(e.list) == maxEpochs {
		return nil
	}
	e.list = slices.Insert(e.list, i, epochRange{epoch: epoch, highest: -1, lowest: -1})
	if len(e.list) > maxEpochs {
		e.before = max(e.before, e.list[0].highest)
		e.list = slices.Delete(e.list, 0, 1)
		i--
	}
	return &e.list[i]
}
