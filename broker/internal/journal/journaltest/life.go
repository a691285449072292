package journaltest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"

	"github.com/lni/dragonboat/v4/raftio"

	"github.com/trunkline/trunkline/broker/internal/storefs"
)

// OpenOn opens the LogDB whose files are on fsys.
type OpenOn func(fsys storefs.FS) (raftio.ILogDB, error)

// versions is what a replica was after each call that touched it, the first of them when the LogDB was opened.
type versions []version

type version struct {
	call int // number of the call, 0 for what was there before
	lazy bool
	*Replica
}

// possible returns what a crash may leave when the calls up to acked had returned and those up to begun had begun: what
// the last returned call made that had to be durable, or anything later. Each is one whole version, never a mixture.
func (v versions) possible(acked, begun int) versions {
	from, to := 0, 0
	for i := range v {
		if v[i].call <= acked && !v[i].lazy {
			from = i
		}
		if v[i].call <= begun {
			to = i + 1
		}
	}
	return v[from:to]
}

// past is what may be found where a LogDB is opened.
type past map[raftio.NodeInfo]versions

// life is a LogDB between two openings, on a disk of which copies are taken. Its calls are made one after another.
type life struct {
	open  OpenOn
	mem   *storefs.Mem
	fs    storefs.FS
	rng   *rand.Rand
	db    raftio.ILogDB
	model *Model
	teams []*legal

	mu     sync.Mutex
	seen   past // until opened what may be found, then what was made; guarded by mu
	opened bool // guarded by mu
	acked  int  // guarded by mu
	begun  int  // guarded by mu
	said   []string
}

// newLife prepares a life on mem; hook sees every operation on it that changes something.
func newLife(open OpenOn, mem *storefs.Mem, before past, seed uint64, hook func(op storefs.Op, name string) error) *life {
	l := &life{open: open, mem: mem, seen: before, rng: rand.New(rand.NewPCG(seed, 0)), model: &Model{}}
	l.fs = storefs.Faulty(mem, func(op storefs.Op, name string) error {
		switch op {
		case storefs.OpRead, storefs.OpReadDir, storefs.OpStat, storefs.OpWriteback, storefs.OpClose:
			return nil
		}
		return hook(op, name)
	})
	for w := uint64(1); w <= 2; w++ {
		l.teams = append(l.teams, &legal{dice: l.rng.IntN, model: l.model, infos: replicas(w), term: 1000 * (1 + seed%7)})
	}
	if before == nil {
		l.seen = past{}
		for _, t := range l.teams {
			for _, info := range t.infos {
				l.seen[info] = versions{{Replica: &Replica{}}}
			}
		}
	}
	return l
}

func (l *life) each(f func(info raftio.NodeInfo) error) error {
	for _, t := range l.teams {
		for _, info := range t.infos {
			if err := f(info); err != nil {
				return err
			}
		}
	}
	return nil
}

// begin opens the LogDB and checks that it found something possible. What it found is durable from now on: Raft acts by it.
func (l *life) begin() (err error) {
	if l.db, err = l.open(l.fs); err != nil {
		return fmt.Errorf("open: %w", err)
	}
	found := past{}
	var listed []raftio.NodeInfo
	err = l.each(func(info raftio.NodeInfo) error {
		r, err := look(l.db, info)
		if err != nil {
			return fmt.Errorf("%v: %w", info, err)
		}
		if err := l.seen[info].has(r); err != nil {
			return fmt.Errorf("%v: %w", info, err)
		}
		if err := r.startable(); err != nil {
			return fmt.Errorf("%v: %w", info, err)
		}
		if r.Bootstrap != nil {
			listed = append(listed, info)
		}
		found[info] = versions{{Replica: r}}
		*l.model.at(info.ShardID, info.ReplicaID) = *r
		return nil
	})
	if err != nil {
		return err
	}
	infos, err := l.db.ListNodeInfo()
	if err == nil {
		err = differInfos(listed, infos)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen, l.opened = found, true
	return err
}

// has checks that r is one of the versions.
func (v versions) has(r *Replica) error {
	var why []string
	for i := range v {
		err := differ(v[i].started(), r)
		if err == nil {
			return nil
		}
		why = append(why, fmt.Sprintf("not as after call %d: %v", v[i].call, err))
	}
	return errors.New("what was found was never there: " + strings.Join(why, "; "))
}

// call makes the next call of the history. The model has made it before the LogDB begins: then everything that a crash
// could leave is known.
func (l *life) call() error {
	c := l.teams[l.rng.IntN(len(l.teams))].next()
	l.said = append(l.said, c.what)
	if err := c.do(l.model); err != nil {
		return err
	}
	l.mu.Lock()
	l.begun++
	n := l.begun
	for _, t := range c.touches {
		l.seen[t.info] = append(l.seen[t.info], version{n, t.lazy, l.model.Version(t.info)})
	}
	l.mu.Unlock()
	if err := c.do(l.db); err != nil {
		return err
	}
	l.mu.Lock()
	l.acked = n
	l.mu.Unlock()
	return nil
}

// crash returns what the disk would hold after a power cut now, and what has to be found there. Without dice nothing
// survives that was not synced.
func (l *life) crash(dice *rand.Rand) (*storefs.Mem, past) {
	l.mu.Lock()
	acked := l.acked
	l.mu.Unlock()
	clone := l.mem.CrashClone(dice) // calls may return and begin meanwhile
	l.mu.Lock()
	defer l.mu.Unlock()
	return clone, l.possible(acked, l.begun)
}

// possible returns what may be found of each replica. mu is held.
func (l *life) possible(acked, begun int) past {
	before := past{}
	for info, v := range l.seen {
		if l.opened {
			v = v.possible(acked, begun)
		}
		before[info] = slices.Clone(v)
	}
	return before
}

// final returns what has to be found after an orderly end: the newest of everything.
func (l *life) final() past {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := past{}
	for info, v := range l.seen {
		before[info] = v[len(v)-1:]
	}
	return before
}

// tell adds the history to an error.
func (l *life) tell(err error) error {
	if err == nil {
		return nil
	}
	said := l.said
	if n := len(said) - 12; n > 0 {
		said = append([]string{fmt.Sprintf("%d other calls", n)}, said[n:]...)
	}
	return fmt.Errorf("%w\nafter:\n  %s", err, strings.Join(said, "\n  "))
}
