package journaltest

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"

	pb "github.com/lni/dragonboat/v4/raftpb"

	"github.com/trunkline/trunkline/broker/internal/storefs"
)

// Crashes makes histories of calls on a LogDB, two workers at the same time, and cuts the power before operations that change its disk: once so
// that only what was synced survives, once so that each unsynced sector survives or not as chance has it. In each of
// these worlds the LogDB is opened again and must hold, of each replica, everything of the calls that had returned, and
// besides only the calls that had begun, each wholly or not at all. Then the history goes on there for a few calls, and
// some of that world's operations are cut too: also those of the recovery itself.
//
// A commit index that moved alone, and the removal of entries, may be lost until the replica is written again.
func Crashes(open OpenOn, plan CrashPlan) error {
	c := &crashes{CrashPlan: plan, open: open}
	if err := c.live(storefs.NewMem(), nil, 0, plan.Steps, plan.Seed); err != nil {
		return fmt.Errorf("seed %d: %w", plan.Seed, err)
	}
	return nil
}

// CrashPlan says how many worlds there are.
type CrashPlan struct {
	Seed  uint64
	Steps int // calls of the first world's history
	// Of the first world's operations one in Every is cut, of those in the worlds below it one in Sparse.
	Every, Sparse int
}

// crashes is a tree of worlds, each a life that branched off from another by a power cut.
type crashes struct {
	CrashPlan
	open OpenOn
}

// deepest is how many power cuts follow one another.
const deepest = 2

// live lives one life on mem: opens, makes some calls, ends it in order and opens again.
func (c *crashes) live(mem *storefs.Mem, before past, depth, steps int, seed uint64) error {
	w := &world{tree: c, depth: depth, dice: rand.New(rand.NewPCG(seed, 1))}
	w.life = newLife(c.open, mem, before, seed, func(op storefs.Op, name string) error {
		w.operation(op, name)
		return nil
	})
	err := w.live(steps)
	w.cutting.Lock()
	defer w.cutting.Unlock()
	return errors.Join(err, w.failed)
}

// world is one of the tree's lives.
type world struct {
	*life
	tree  *crashes
	depth int

	cutting sync.Mutex // held while a cut is examined
	dice    *rand.Rand // guarded by cutting
	cuts    int        // guarded by cutting
	failed  error      // of the first world below that went wrong; guarded by cutting
}

func (w *world) live(steps int) error {
	if err := w.begin(); err != nil {
		if w.db != nil {
			_ = w.db.Close() // it is wrong already
		}
		return err
	}
	if err := w.calls(steps); err != nil {
		return errors.Join(w.tell(err), w.db.Close())
	}
	if err := w.db.Close(); err != nil {
		return w.tell(err)
	}
	last := newLife(w.open, w.mem, w.final(), w.tree.Seed, func(storefs.Op, string) error { return nil })
	if err := last.begin(); err != nil {
		return w.tell(fmt.Errorf("after an orderly end: %w", err))
	}
	return last.db.Close()
}

// operation is called before each operation of this world.
func (w *world) operation(op storefs.Op, name string) {
	w.cutting.Lock()
	defer w.cutting.Unlock()
	w.cuts++
	one := w.tree.Every
	if w.depth > 0 {
		one = w.tree.Sparse
	}
	if w.failed != nil || w.depth == deepest || w.dice.IntN(one) > 0 {
		return
	}
	for _, chance := range []*rand.Rand{nil, w.dice} {
		if w.depth > 0 && w.dice.IntN(2) == 0 {
			continue
		}
		mem, before := w.crash(chance)
		steps := 0
		if w.depth+1 < deepest && w.dice.IntN(3) == 0 {
			steps = 4
		}
		if err := w.tree.live(mem, before, w.depth+1, steps, w.dice.Uint64()); err != nil {
			w.failed = w.tell(fmt.Errorf("power cut before operation %d (%s %s): %w", w.cuts, op, name, err))
			return
		}
	}
}

// Faults makes a history once for each operation that changes the LogDB's disk, and lets that one operation fail. A
// call that returned an error may have done its work or not; from then on everything that writes must fail. Whether the
// process is started again on the same disk or the power fails too, the LogDB must hold what Crashes demands.
func Faults(open OpenOn, seed uint64, steps int) error {
	for n := 1; ; n++ {
		failed, err := failNth(open, seed, steps, n)
		if err != nil {
			return fmt.Errorf("seed %d, operation %d fails: %w", seed, n, err)
		}
		if !failed {
			return nil
		}
	}
}

var errFault = errors.New("the disk does not do this")

// failNth lets the n-th operation fail, if there are so many.
func failNth(open OpenOn, seed uint64, steps, n int) (failed bool, err error) {
	var mu sync.Mutex
	operations, what := 0, ""
	l := newLife(open, storefs.NewMem(), nil, seed, func(op storefs.Op, name string) error {
		mu.Lock()
		defer mu.Unlock()
		if operations++; operations != n {
			return nil
		}
		what = fmt.Sprintf("%s %s", op, name)
		return errFault
	})
	defer func() {
		mu.Lock()
		defer mu.Unlock()
		failed = what != ""
		if err != nil {
			err = fmt.Errorf("%s: %w", what, err)
		}
	}()
	if err := l.begin(); err == nil {
		if err := l.goOnUntilItFails(steps); err != nil {
			return true, l.tell(err)
		}
		_ = l.db.Close() // may be what fails
	} else if !errors.Is(err, errFault) {
		return true, err
	}
	for _, chance := range []*rand.Rand{nil, l.rng} {
		mem, before := l.crash(chance)
		if err := reborn(open, mem, before); err != nil {
			return true, l.tell(fmt.Errorf("after a power cut: %w", err))
		}
	}
	if err := reborn(open, l.mem, l.possible(l.returned())); err != nil {
		return true, l.tell(fmt.Errorf("after a restart: %w", err))
	}
	return true, nil
}

// goOnUntilItFails makes calls, and after the first that fails some more: they must fail if they write.
func (l *life) goOnUntilItFails(steps int) error {
	for range steps {
		err := l.call(l.teams[l.rng.IntN(len(l.teams))])
		if err == nil {
			continue
		}
		if !errors.Is(err, errFault) {
			return fmt.Errorf("an error that hides its cause: %w", err)
		}
		for _, t := range l.teams {
			ud := with(t.infos[0], pb.State{Term: math.MaxUint64}, pb.Snapshot{})
			if err := l.db.SaveRaftState([]pb.Update{ud}, worker(ud.ShardID)); !errors.Is(err, errFault) {
				return fmt.Errorf("a save after a failed one: %w", err)
			}
		}
		return nil
	}
	return nil
}

// reborn opens a LogDB, checks what it finds and closes it.
func reborn(open OpenOn, mem *storefs.Mem, before past) error {
	l := newLife(open, mem, before, 0, func(storefs.Op, string) error { return nil })
	if err := l.begin(); err != nil {
		return err
	}
	return l.db.Close()
}
