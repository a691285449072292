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

// life is a LogDB between two openings, on a disk of which copies are taken.
type life struct {
	open  OpenOn
	mem   *storefs.Mem
	fs    storefs.FS
	rng   *rand.Rand
	db    raftio.ILogDB
	model *Model
	teams []*team

	mu     sync.Mutex
	seen   past // until opened what may be found, then what was made; guarded by mu
	opened bool // guarded by mu
}

// team is the calls for the replicas of one worker, one after another. Teams may call at the same time.
type team struct {
	*legal
	acked, begun int      // calls that have returned and begun; guarded by life.mu
	said         []string // guarded by life.mu
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
		dice := rand.New(rand.NewPCG(seed, w)).IntN
		l.teams = append(l.teams, &team{legal: &legal{dice: dice, model: l.model, infos: replicas(w), term: 1000 * (1 + seed%7)}})
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

// call makes a team's next call. The model has made it before the LogDB begins: then everything that a crash could
// leave is known.
func (l *life) call(t *team) error {
	c := t.next()
	if err := c.do(l.model); err != nil {
		return err
	}
	l.mu.Lock()
	t.said = append(t.said, c.what)
	t.begun++
	n := t.begun
	for _, touched := range c.touches {
		l.seen[touched.info] = append(l.seen[touched.info], version{n, touched.lazy, l.model.Version(touched.info)})
	}
	l.mu.Unlock()
	if err := c.do(l.db); err != nil {
		return err
	}
	l.mu.Lock()
	t.acked = n
	l.mu.Unlock()
	return nil
}

// calls makes some calls of all teams at the same time.
func (l *life) calls(steps int) error {
	var all crowd
	for _, t := range l.teams {
		all.start(func() error {
			for range steps / len(l.teams) {
				if err := l.call(t); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return all.wait()
}

// crash returns what the disk would hold after a power cut now, and what has to be found there. Without dice nothing
// survives that was not synced.
func (l *life) crash(dice *rand.Rand) (*storefs.Mem, past) {
	acked := l.returned()
	clone := l.mem.CrashClone(dice) // calls may return and begin meanwhile
	return clone, l.possible(acked)
}

// returned counts the calls of each team that have returned.
func (l *life) returned() []int {
	l.mu.Lock()
	defer l.mu.Unlock()
	var acked []int
	for _, t := range l.teams {
		acked = append(acked, t.acked)
	}
	return acked
}

// possible returns what may be found of each replica.
func (l *life) possible(acked []int) past {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := past{}
	for i, t := range l.teams {
		for _, info := range t.infos {
			v := l.seen[info]
			if l.opened {
				v = v.possible(acked[i], t.begun)
			}
			before[info] = slices.Clone(v)
		}
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
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range l.teams {
		said := t.said
		if n := len(said) - 12; n > 0 {
			said = append([]string{fmt.Sprintf("%d other calls", n)}, said[n:]...)
		}
		err = fmt.Errorf("%w\nafter, on worker %d:\n  %s", err, worker(t.infos[0].ShardID), strings.Join(said, "\n  "))
	}
	return err
}
