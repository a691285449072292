package journaltest_test

import (
	"testing"

	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/plugin/tan"
	"github.com/lni/dragonboat/v4/raftio"
	pb "github.com/lni/dragonboat/v4/raftpb"
	"github.com/lni/vfs"
	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/journal/journaltest"
)

// factory makes LogDBs of a subject: one place, and each Create opens it again.
type factory struct{ open journaltest.Open }

func of(s journaltest.Subject) factory { return factory{s.Fresh()} }

func (f factory) Create(config.NodeHostConfig, config.LogDBCallback, []string, []string) (raftio.ILogDB, error) {
	return f.open()
}
func (f factory) Name() string { return "test" }

// teed is a tee of two kinds as a subject.
func teed(a, b func() config.LogDBFactory, keepsTail bool) journaltest.Subject {
	return journaltest.Subject{KeepsTail: keepsTail, Fresh: func() journaltest.Open {
		tee := journaltest.Tee(a(), b())
		cfg := journaltest.HostConfig(vfs.NewMem())
		return func() (raftio.ILogDB, error) { return tee.Create(cfg, nil, []string{"logdb"}, []string{"wal"}) }
	}}
}

func tanFactory() config.LogDBFactory   { return tan.Factory }
func modelFactory() config.LogDBFactory { return of(model()) }

// TestTeeAgrees: everything that the contract covers, seen by a tee of two that keep it. That the model has no tail
// where tan has one must not be a disagreement.
func TestTeeAgrees(t *testing.T) {
	t.Parallel()
	t.Run("models", func(t *testing.T) { journaltest.Run(t, teed(modelFactory, modelFactory, false)) })
	t.Run("tan and model", func(t *testing.T) { journaltest.Run(t, teed(tanFactory, modelFactory, true)) })
}

// TestTeeKnowsTheTailOfTan: tan keeps a tail that Raft forgot. That is no disagreement, and what reads through the tee
// does not see the tail, also after a restart.
func TestTeeKnowsTheTailOfTan(t *testing.T) {
	t.Parallel()
	open := teed(tanFactory, modelFactory, true).Fresh()
	db, err := open()
	require.NoError(t, err)
	log := func(first, last, term uint64) (ents []pb.Entry) {
		for i := first; i <= last; i++ {
			ents = append(ents, pb.Entry{Index: i, Term: term})
		}
		return ents
	}
	save := func(ud pb.Update) {
		ud.ShardID, ud.ReplicaID = 1, 1
		require.NoError(t, db.SaveRaftState([]pb.Update{ud}, 2))
	}
	save(pb.Update{State: pb.State{Term: 5, Commit: 5}, EntriesToSave: log(1, 30, 5)})
	save(pb.Update{State: pb.State{Term: 7, Commit: 20}, Snapshot: pb.Snapshot{Index: 20, Term: 6}})
	for range 2 {
		rs, err := db.ReadRaftState(1, 1, 20)
		require.NoError(t, err)
		require.Zero(t, rs.EntryCount)
		require.NoError(t, db.Close())
		db, err = open()
		require.NoError(t, err)
	}
	save(pb.Update{EntriesToSave: log(21, 23, 7)})
	ents, _, err := db.IterateEntries(nil, 0, 1, 1, 21, 24, 1000)
	require.NoError(t, err)
	require.Equal(t, log(21, 23, 7), ents)
	require.NoError(t, db.Close())
}

func TestTeeCounts(t *testing.T) {
	t.Parallel()
	tee := journaltest.Tee(modelFactory(), modelFactory())
	db, err := tee.Create(journaltest.HostConfig(vfs.NewMem()), nil, []string{"logdb"}, nil)
	require.NoError(t, err)
	_, err = db.GetSnapshot(1, 1)
	require.NoError(t, err)
	require.Equal(t, 1, tee.Compared()["GetSnapshot"])
	require.Zero(t, tee.Compared()["SaveRaftState"])
	require.NoError(t, db.Close())
}
