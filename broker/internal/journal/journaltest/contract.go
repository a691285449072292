package journaltest

import (
	"math"
	"runtime"
	"slices"
	"testing"

	"github.com/lni/dragonboat/v4/raftio"
	pb "github.com/lni/dragonboat/v4/raftpb"
	"github.com/stretchr/testify/require"
)

// Workers is how many step workers a LogDB under test has to be made for.
const Workers = 4

// worker returns who saves a shard, as Dragonboat counts them.
func worker(shard uint64) uint64 { return shard%Workers + 1 }

// Open opens a LogDB in one place. The one that was opened there before is closed by then.
type Open func() (raftio.ILogDB, error)

// Subject is a kind of LogDB.
type Subject struct {
	// Fresh returns what opens LogDBs in a new, empty place.
	Fresh func() Open
	// KeepsTail says that an installed snapshot leaves the entries behind it in the log, although Raft forgot them: a
	// fault of tan, which brings them back after a restart. What would show it is not tested.
	KeepsTail bool
}

// T is what a case needs of a *testing.T.
type T interface {
	require.TestingT
	Helper()
	Logf(format string, args ...any)
}

// contractCase is one expectation.
type contractCase struct {
	name string
	test func(r *rig)
}

// contract is everything that Dragonboat expects of a LogDB, apart from crashes.
func contract() []contractCase {
	return slices.Concat(bootstrapCases, stateCases, entryCases, limitCases, snapshotCases, removalCases, concurrentCases)
}

// Run checks that a LogDB keeps the contract.
func Run(t *testing.T, s Subject) {
	for _, c := range contract() {
		t.Run(c.name, func(t *testing.T) { runCase(t, s, c) })
	}
}

// Failing returns the cases that a LogDB fails, by name: for those who plant a fault, to see that it is found. The
// cases that take concurrency to find something are tried only when all others pass.
func Failing(s Subject) []string {
	var failed []string
	for _, cases := range [][]contractCase{contract()[:len(contract())-len(concurrentCases)], concurrentCases} {
		for _, c := range cases {
			if fails(s, c) {
				failed = append(failed, c.name)
			}
		}
		if len(failed) > 0 {
			break
		}
	}
	return failed
}

func fails(s Subject, c contractCase) bool {
	var v verdict
	done := make(chan struct{})
	go func() { // FailNow ends it
		defer close(done)
		defer func() { v.failed = recover() != nil || v.failed }()
		runCase(&v, s, c)
	}()
	<-done
	return v.failed
}

// verdict is a T that only knows whether it failed.
type verdict struct{ failed bool }

func (v *verdict) Helper()               {}
func (v *verdict) Logf(string, ...any)   {}
func (v *verdict) Errorf(string, ...any) { v.failed = true }
func (v *verdict) FailNow()              { v.failed = true; runtime.Goexit() }

func runCase(t T, s Subject, c contractCase) {
	r := &rig{T: t, subject: s, open: s.Fresh()}
	db, err := r.open()
	require.NoError(t, err)
	r.db = db
	defer func() { // not Cleanup: a T has none
		if r.db != nil {
			require.NoError(t, r.db.Close())
		}
	}()
	c.test(r)
}

// rig is a LogDB in the hands of a case.
type rig struct {
	T
	subject Subject
	open    Open
	db      raftio.ILogDB
}

// The replicas that cases use: three of one worker, two of them of one shard, and one of another worker.
var (
	one   = raftio.GetNodeInfo(3, 4)
	two   = raftio.GetNodeInfo(3, 5)
	three = raftio.GetNodeInfo(3+Workers, 4)
	other = raftio.GetNodeInfo(6, 4)
)

func (r *rig) reopen() {
	r.Helper()
	require.NoError(r, r.db.Close())
	r.db = nil
	db, err := r.open()
	require.NoError(r, err)
	r.db = db
}

// twice checks, reopens and checks again.
func (r *rig) twice(check func()) {
	r.Helper()
	check()
	r.reopen()
	check()
}

// save saves updates of one worker.
func (r *rig) save(updates ...pb.Update) {
	r.Helper()
	require.NoError(r, r.db.SaveRaftState(updates, worker(updates[0].ShardID)))
}

// with makes an update of a replica.
func with(info raftio.NodeInfo, st pb.State, ss pb.Snapshot, ents ...pb.Entry) pb.Update {
	return pb.Update{ShardID: info.ShardID, ReplicaID: info.ReplicaID, State: st, Snapshot: ss, EntriesToSave: ents}
}

// entries makes the entries first to last of a term, each with its own command.
func entries(first, last, term uint64) []pb.Entry {
	var ents []pb.Entry
	for i := first; i <= last; i++ {
		ents = append(ents, pb.Entry{Index: i, Term: term, Cmd: command(i, term, 20)})
	}
	return ents
}

// command makes a command that no other entry has.
func command(index, term uint64, size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(index*31 + term*7 + uint64(i))
	}
	return b
}

// saveEntries saves entries with a state that commits nothing.
func (r *rig) saveEntries(info raftio.NodeInfo, ents ...pb.Entry) {
	r.Helper()
	r.save(with(info, pb.State{Term: ents[len(ents)-1].Term, Vote: 2}, pb.Snapshot{}, ents...))
}

// iterate reads [low, high).
func (r *rig) iterate(info raftio.NodeInfo, low, high, maxSize uint64) []pb.Entry {
	r.Helper()
	ents, size, err := r.db.IterateEntries(nil, 0, info.ShardID, info.ReplicaID, low, high, maxSize)
	require.NoError(r, err)
	require.Equal(r, sizeOf(ents), size)
	return ents
}

// has checks the whole log of a replica: exactly these entries, none before and none behind.
func (r *rig) has(info raftio.NodeInfo, want []pb.Entry) {
	r.Helper()
	require.NotEmpty(r, want)
	first, last := want[0].Index, want[len(want)-1].Index
	require.NoError(r, differEntries(want, r.iterate(info, first, last+1, math.MaxUint64)))
	require.NoError(r, differEntries(want, r.iterate(info, first, math.MaxUint64, math.MaxUint64)))
	require.Empty(r, r.iterate(info, last+1, last+3, math.MaxUint64))
	rs := r.state(info, first-1)
	require.Equal(r, last, rs.FirstIndex+rs.EntryCount-1, "%+v", rs)
}

func (r *rig) state(info raftio.NodeInfo, lastIndex uint64) raftio.RaftState {
	r.Helper()
	rs, err := r.db.ReadRaftState(info.ShardID, info.ReplicaID, lastIndex)
	require.NoError(r, err)
	if rs.EntryCount > 0 {
		require.LessOrEqual(r, rs.FirstIndex, lastIndex+1)
	}
	return rs
}

func (r *rig) snapshot(info raftio.NodeInfo) pb.Snapshot {
	r.Helper()
	ss, err := r.db.GetSnapshot(info.ShardID, info.ReplicaID)
	require.NoError(r, err)
	return ss
}

func (r *rig) infos(want ...raftio.NodeInfo) {
	r.Helper()
	got, err := r.db.ListNodeInfo()
	require.NoError(r, err)
	require.NoError(r, differInfos(want, got))
}

// is checks what Dragonboat would find of a replica when it starts it.
func (r *rig) is(info raftio.NodeInfo, want Replica) {
	r.Helper()
	got, err := look(r.db, info)
	require.NoError(r, err)
	require.NoError(r, differ(&want, got))
}

// nothing checks that a replica is unknown.
func (r *rig) nothing(info raftio.NodeInfo) {
	r.Helper()
	r.is(info, Replica{})
	require.Empty(r, r.iterate(info, 1, math.MaxUint64, math.MaxUint64))
}
