package journal

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"

	pb "github.com/lni/dragonboat/v4/raftpb"
	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/storefs"
)

var (
	crashSeed  = flag.Uint64("crash.seed", 0, "run only this seed of TestCrashes")
	crashSeeds = flag.Uint64("crash.seeds", 6, "run TestCrashes with so many seeds")
)

// modelReplica is what a replica must be; durable is its commit that no crash may lose.
type modelReplica struct {
	log       []pb.Entry // log[i] has index i+1; those up to compacted may be gone
	compacted uint64
	state     pb.State
	durable   uint64
	snapshot  uint64
	bootstrap bool
}

type model map[uint64]modelReplica

// crasher cuts the power at random operations and checks what would be left.
type crasher struct {
	t    *testing.T
	mem  *storefs.Mem
	seed uint64

	mu            sync.Mutex
	r             *rand.Rand
	before, after model // what the running call may leave
	checks        int
}

func (c *crasher) hook(op storefs.Op, name string) error {
	switch op {
	case storefs.OpWrite, storefs.OpDatasync, storefs.OpRename, storefs.OpSyncDir, storefs.OpRemove, storefs.OpSync:
	default:
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.before == nil || c.r.IntN(25) != 0 {
		return nil
	}
	c.checks++
	c.check(c.mem.CrashClone(c.r), fmt.Sprintf("seed %d, check %d, before %s of %s", c.seed, c.checks, op, name), 2)
	return nil
}

// check opens what a crash left, compares it, and crashes again while that is open.
func (c *crasher) check(left *storefs.Mem, when string, depth int) {
	j, err := Open(testDir, 1, small(left))
	require.NoError(c.t, err, when)
	ids := maps.Clone(c.before)
	maps.Copy(ids, c.after)
	for shard := range ids {
		old, isOld := compare(j, shard, c.before[shard])
		young, isYoung := compare(j, shard, c.after[shard])
		if !isOld && !isYoung {
			c.t.Errorf("%s: shard %d\n before: %s\n after: %s", when, shard, old, young)
		}
	}
	if depth > 0 {
		c.check(left.CrashClone(c.r), when+", again", depth-1)
	}
	require.NoError(c.t, j.Close(), when)
	if depth > 0 {
		c.check(left.CrashClone(c.r), when+", closed", depth-1)
	}
}

// compare says how the replica differs from m.
func compare(j *Journal, shard uint64, m modelReplica) (string, bool) {
	s, err := j.ReadRaftState(shard, 1, m.snapshot)
	if m.state == (pb.State{}) {
		if err == nil {
			return fmt.Sprintf("state %+v, none is right", s.State), false
		}
	} else if err != nil {
		return err.Error(), false
	}
	if s.State.Term != m.state.Term || s.State.Vote != m.state.Vote || s.State.Commit < m.durable || s.State.Commit > m.state.Commit {
		return fmt.Sprintf("state %+v, %+v with at least %d is right", s.State, m.state, m.durable), false
	}
	snapshot, err := j.GetSnapshot(shard, 1)
	if err != nil || snapshot.Index != m.snapshot {
		return fmt.Sprintf("snapshot %d %v, %d is right", snapshot.Index, err, m.snapshot), false
	}
	if _, err := j.GetBootstrapInfo(shard, 1); (err == nil) != m.bootstrap {
		return fmt.Sprintf("bootstrap %v", err), false
	}
	list, _, err := j.IterateEntries(nil, 0, shard, 1, m.compacted+1, uint64(len(m.log))+100, 0)
	want := m.log[min(m.compacted, uint64(len(m.log))):]
	if err != nil || len(list) != len(want) {
		return fmt.Sprintf("%d entries from %d on %v, %d are right", len(list), m.compacted+1, err, len(want)), false
	}
	for i := range want {
		if list[i].Index != want[i].Index || list[i].Term != want[i].Term || string(list[i].Cmd) != string(want[i].Cmd) {
			return fmt.Sprintf("entry %d of term %d, %d of %d is right", list[i].Index, list[i].Term, want[i].Index, want[i].Term), false
		}
	}
	return "", true
}

// step makes one random call and the model of what it leaves.
func (c *crasher) step(j *Journal, now model) (func() error, model) {
	r, next := c.r, maps.Clone(now)
	shard := uint64(r.IntN(4)) + 1
	m := now[shard]
	last := uint64(len(m.log))
	switch r.IntN(12) {
	case 0:
		m.bootstrap, m.durable = true, m.state.Commit
		next[shard] = m
		return func() error { return j.SaveBootstrapInfo(shard, 1, pb.Bootstrap{Join: true}) }, next
	case 1:
		if r.IntN(4) > 0 {
			break
		}
		next[shard] = modelReplica{}
		return func() error { return j.RemoveNodeData(shard, 1) }, next
	case 2, 3:
		if m.state.Commit == 0 || m.state.Commit <= m.snapshot {
			break
		}
		m.snapshot, m.durable = m.state.Commit, m.state.Commit
		next[shard] = m
		return func() error {
			return j.SaveSnapshots([]pb.Update{{ShardID: shard, ReplicaID: 1, Snapshot: pb.Snapshot{Index: m.snapshot, Term: 1}}})
		}, next
	case 4, 5:
		if m.snapshot < m.compacted+2 {
			break
		}
		m.compacted = m.snapshot - uint64(r.IntN(2))
		next[shard] = m
		return func() error { return j.RemoveEntriesTo(shard, 1, m.compacted) }, next
	case 6:
		m.state.Commit = last
		if last > 0 {
			next[shard] = m
		}
		return func() error {
			return j.SaveRaftState([]pb.Update{{ShardID: shard, ReplicaID: 1, State: m.state}}, 1)
		}, next
	}
	var updates []pb.Update
	for s := range uint64(4) {
		if s+1 == shard || r.IntN(3) == 0 && shard != 1 { // shard 1 is often alone, and the others are idle
			m := now[s+1]
			updates = append(updates, c.appendTo(s+1, &m))
			next[s+1] = m
		}
	}
	return func() error { return j.SaveRaftState(updates, 1) }, next
}

// appendTo makes an update with entries that follow the committed ones.
func (c *crasher) appendTo(shard uint64, m *modelReplica) pb.Update {
	first := uint64(len(m.log)) + 1
	if c.r.IntN(4) == 0 {
		first -= uint64(c.r.IntN(int(first - m.state.Commit)))
	}
	m.state.Term++
	m.state.Vote = uint64(c.r.IntN(3))
	list := entries(first, first+uint64(c.r.IntN(4)), m.state.Term, []int{0, 10, 600, 9000}[c.r.IntN(4)])
	m.log = append(m.log[:first-1:first-1], list...)
	m.state.Commit += uint64(c.r.IntN(int(first - m.state.Commit)))
	m.durable = m.state.Commit
	return pb.Update{ShardID: shard, ReplicaID: 1, State: m.state, EntriesToSave: list}
}

// TestCrashes runs random calls, cuts the power at random operations inside of them, those of the goroutines in the
// background included, and checks that what a call left is all of it or nothing, for each replica.
func TestCrashes(t *testing.T) {
	for seed := range *crashSeeds {
		if *crashSeed != 0 {
			seed = *crashSeed
		}
		c := &crasher{t: t, mem: newMem(t), seed: seed, r: rand.New(rand.NewPCG(seed, 11))}
		fs := storefs.Faulty(c.mem, c.hook)
		j := open(t, fs)
		now := model{}
		for range 150 {
			c.mu.Lock()
			call, next := c.step(j, now)
			c.before, c.after = now, next
			c.mu.Unlock()
			require.NoError(t, call())
			c.mu.Lock()
			now = next
			c.before, c.after = now, now
			again := c.r.IntN(40) == 0
			c.mu.Unlock()
			if again {
				j = reopen(t, j, fs)
			}
		}
		for shard := range now {
			why, ok := compare(j, shard, now[shard])
			require.True(t, ok, "seed %d shard %d: %s", seed, shard, why)
		}
		require.NoError(t, j.Close())
		if t.Failed() || *crashSeed != 0 {
			return
		}
		t.Logf("seed %d: %d crashes", seed, c.checks)
	}
}
