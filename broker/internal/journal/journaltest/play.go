package journaltest

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/lni/dragonboat/v4/raftio"
)

// replicas returns the replicas that a history of one worker is about: several of one shard, and of other shards.
func replicas(worker uint64) []raftio.NodeInfo {
	shard := worker + Workers - 1
	return []raftio.NodeInfo{{ShardID: shard, ReplicaID: 1}, {ShardID: shard, ReplicaID: 2}, {ShardID: shard + Workers, ReplicaID: 1}}
}

// Play lets the dice make a legal history of some workers, one call after another, on a LogDB and on the model, and
// compares all that they answer, also after reopening. The error tells the history.
func Play(s Subject, dice Dice, steps int) (err error) {
	p := &play{subject: s, dice: dice, open: s.Fresh()}
	if p.db, err = p.open(); err != nil {
		return err
	}
	defer func() {
		if p.db != nil {
			err = errors.Join(err, p.db.Close())
		}
	}()
	for w := uint64(1); w <= 2; w++ {
		p.workers = append(p.workers, &legal{dice: dice, model: &p.model, infos: replicas(w), keepsTail: s.KeepsTail})
	}
	for range steps {
		if err := p.step(); err != nil {
			return fmt.Errorf("%w\nafter:\n  %s", err, strings.Join(p.said, "\n  "))
		}
	}
	return nil
}

type play struct {
	subject Subject
	dice    Dice
	open    Open
	db      raftio.ILogDB
	model   Model
	workers []*legal
	fresh   bool // reopened since an entry was removed: what is removed may show again, until it is removed again
	said    []string
}

func (p *play) step() error {
	if p.dice.flip(15) {
		return p.reopen()
	}
	l := p.workers[p.dice(len(p.workers))]
	c := l.next()
	p.said = append(p.said, c.what)
	if err := c.do(p.db); err != nil {
		return fmt.Errorf("the last call: %w", err)
	}
	if err := c.do(&p.model); err != nil {
		return err
	}
	for _, t := range c.touches {
		if err := p.check(t.info); err != nil {
			return err
		}
	}
	return p.iterate(l.infos[p.dice(len(l.infos))])
}

func (p *play) reopen() error {
	p.said = append(p.said, "reopen")
	if err := p.db.Close(); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	p.db = nil
	db, err := p.open()
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	p.db, p.fresh = db, true
	want, _ := p.model.ListNodeInfo()
	got, err := p.db.ListNodeInfo()
	if err != nil {
		return err
	}
	if err := differInfos(want, got); err != nil {
		return err
	}
	for _, l := range p.workers {
		for _, info := range l.infos {
			if err := p.check(info); err != nil {
				return err
			}
		}
	}
	return nil
}

// check compares a replica as it would be started.
func (p *play) check(info raftio.NodeInfo) error {
	got, err := look(p.db, info)
	if err == nil {
		err = differ(p.model.Version(info).started(), got)
	}
	if err == nil {
		err = got.startable()
	}
	if err != nil {
		return fmt.Errorf("%v (model and LogDB): %w", info, err)
	}
	return nil
}

// iterate compares some range of a replica's entries, as a LogReader that runs asks for them: above what it removed.
func (p *play) iterate(info raftio.NodeInfo) error {
	r := p.model.Version(info)
	if len(r.Entries) == 0 {
		return nil
	}
	low := p.dice.between(r.first(), r.last()+1)
	if p.fresh { // it was started anew: the log begins behind the snapshot
		low = max(low, r.Snapshot.Index+1)
	}
	high := p.dice.between(low, low+6)
	maxSize := uint64(math.MaxUint64)
	if p.dice.flip(2) {
		maxSize = p.dice.between(0, 9000)
	}
	call := fmt.Sprintf("%v entries [%d, %d) of %d bytes (model and LogDB)", info, low, high, maxSize)
	want, size := r.between(low, high, maxSize)
	got, gotSize, err := p.db.IterateEntries(nil, 0, info.ShardID, info.ReplicaID, low, high, maxSize)
	if err == nil {
		err = differLimited(limited{want, size}, limited{got, gotSize}, maxSize)
	}
	for _, e := range got { // it is the caller's
		clear(e.Cmd)
	}
	if err == nil && r.RemovedTo > 0 && !p.fresh {
		got, _, err = p.db.IterateEntries(nil, 0, info.ShardID, info.ReplicaID, r.RemovedTo, high, maxSize)
		if err == nil && len(got) > 0 {
			err = fmt.Errorf("entry %d, which was removed", got[0].Index)
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", call, err)
	}
	return nil
}
