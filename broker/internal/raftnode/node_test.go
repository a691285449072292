package raftnode

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/lni/dragonboat/v4/raftio"
	pb "github.com/lni/dragonboat/v4/raftpb"
	sm "github.com/lni/dragonboat/v4/statemachine"
	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/fsm"
	"github.com/trunkline/trunkline/protocol"
)

// TestLifeOfAShard goes through everything that happens to a shard: election, loss of the leader, return of a broker,
// transfer, compaction, a replica that lags behind the log, removal.
func TestLifeOfAShard(t *testing.T) {
	c := newCluster(t)
	one, two, three := c.start(1), c.start(2), c.start(3)

	l, epoch := c.elect(one) // not after an election timeout
	require.EqualValues(t, 1, l.Leader)
	require.EqualValues(t, 1, epoch)
	c.publish(one, epoch, 10, 5, 100)
	c.same(one, three)

	c.kill(1)
	begun := time.Now()
	_, epoch = c.elect(two)
	require.Less(t, time.Since(begun), 1500*time.Millisecond, "campaigns must not wait for the election timeout")
	require.EqualValues(t, 2, epoch)
	three.await(t, "new leader", func(l Leadership) bool { return l.Leader == 2 && !l.Self })
	c.publish(two, epoch, 11, 5, 100)

	one = c.start(1)
	one.await(t, "leader known after a restart", func(l Leadership) bool { return l.Leader == 2 })
	c.same(two, one)

	c.transfer(two, three)

	c.lag(three)
	c.remove()
}

// transfer hands over, again and again, each time at once after a write.
func (c *cluster) transfer(from, to *testBroker) {
	t := c.t
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	handover := func(b *testBroker) Handover {
		return Handover{
			Barrier: func(context.Context) (uint64, error) {
				c.propose(b, fsm.NewOps(1000, 0).Bytes()) // refused by the state machine, in the log nevertheless
				return b.machine.Applied(), nil
			},
			Silence: func(context.Context) error { return nil },
		}
	}
	require.ErrorIs(t, from.node.Transfer(ctx, testShard, 9, handover(from)), ErrUnknown)
	require.NoError(t, from.node.Transfer(ctx, testShard, from.id, handover(from)), "to itself")
	require.ErrorIs(t, to.node.Transfer(ctx, testShard, from.id, handover(to)), ErrNotLeader)
	busy := handover(from)
	busy.Silence = func(context.Context) error { return ErrBusy }
	require.ErrorIs(t, from.node.Transfer(ctx, testShard, to.id, busy), ErrBusy)
	busy.Barrier = func(context.Context) (uint64, error) { return 0, ErrNotReady }
	require.ErrorIs(t, from.node.Transfer(ctx, testShard, to.id, busy), ErrNotReady)
	for range 11 { // odd: the last one leads in the end
		begun := time.Now()
		require.NoError(t, from.node.Transfer(ctx, testShard, to.id, handover(from)))
		to.await(t, "transfer", func(l Leadership) bool { return l.Self })
		from.await(t, "transfer", func(l Leadership) bool { return l.Leader == to.id })
		t.Logf("transfer to broker %d took %v", to.id, time.Since(begun).Round(time.Millisecond))
		require.Less(t, time.Since(begun), time.Second)
		from, to = to, from
	}
}

// lag lets broker 1 miss so much that it must get a snapshot.
func (c *cluster) lag(leader *testBroker) {
	t := c.t
	l, _ := leader.node.Leader(testShard)
	r := c.propose(leader, fsm.EpochBegin(l.Term, leader.id, 1, 0))
	epoch := fsm.ParseEpoch(r.Data)
	c.kill(1)
	c.publish(leader, epoch, 12, 40, 50_000)
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	c.same(c.brokers[2], c.brokers[3])
	for _, b := range c.brokers {
		keep := b.machine.Applied() - 2
		require.NoError(t, b.node.Compact(ctx, testShard, keep))
		require.ErrorIs(t, b.node.Compact(ctx, testShard, keep), ErrNothingToCompact)
		reader, err := b.node.nh.GetLogReader(testShard)
		require.NoError(t, err)
		require.Eventually(t, func() bool { first, _ := reader.GetRange(); return first >= keep-1 }, soon,
			time.Millisecond, "entries below %d are gone", keep)
	}
	c.publish(leader, epoch, 13, 3, 1000)
	one := c.start(1)
	c.same(leader, one)
	first, _ := one.machine.Bounds()
	raw, err := one.machine.Read(first, 1<<20, nil)
	require.NoError(t, err)
	require.NotEmpty(t, raw)
}

// remove stops the shard on broker 1 and deletes its log.
func (c *cluster) remove() {
	t := c.t
	node := c.brokers[1].node
	require.Equal(t, []Stored{{testShard, 1}}, node.Stored())
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	require.Error(t, node.RemoveData(ctx, testShard, 1), "it runs")
	require.NoError(t, node.Stop(testShard))
	require.ErrorIs(t, node.Stop(testShard), ErrStopped)
	_, err := node.Propose(testShard, []byte("x"))
	require.ErrorIs(t, err, ErrStopped)
	_, known := node.Leader(testShard)
	require.False(t, known)
	require.NoError(t, node.RemoveData(ctx, testShard, 1))
	require.Empty(t, node.Stored())
	require.NoError(t, node.RemoveData(ctx, testShard, 1), "nothing is left")
	again := Start{Shard: testShard, Replica: 1, Replicas: c.replicas}
	require.ErrorIs(t, node.StartPartition(again, c.brokers[1].machine), ErrRemoved)
	require.Empty(t, node.Stored(), "of one that was refused")
}

func TestClosedNode(t *testing.T) {
	c := newCluster(t)
	b := c.start(1)
	p, err := b.node.Propose(testShard, []byte("x"))
	if err == nil { // one of three: it cannot commit
		defer func() { require.NotEqual(t, Committed, p.Result().Outcome) }()
	}
	c.kill(1)
	_, err = b.node.Propose(testShard, []byte("x"))
	require.ErrorIs(t, err, ErrStopped)
	_, err = b.node.Read(context.Background(), testShard, nil)
	require.ErrorIs(t, err, ErrStopped)
	_, err = b.node.StaleRead(testShard, nil)
	require.ErrorIs(t, err, ErrStopped)
	require.ErrorIs(t, b.node.Stop(testShard), ErrStopped)
	require.ErrorIs(t, b.node.Transfer(context.Background(), testShard, 2, Handover{}), ErrStopped)
	require.Error(t, b.node.Compact(context.Background(), testShard, 1))
	require.ErrorIs(t, b.node.RemoveData(context.Background(), testShard, 1), ErrStopped)
	require.ErrorIs(t, b.node.StartPartition(Start{Shard: 20, Replica: 1, Replicas: c.replicas}, b.machine), ErrStopped)
	require.Nil(t, b.node.Stored())
	b.node.Campaign(testShard)
}

func TestStartRefuses(t *testing.T) {
	c := newCluster(t)
	b := c.start(1)
	require.ErrorContains(t, b.node.StartPartition(Start{Shard: testShard, Replica: 1, Replicas: c.replicas}, b.machine), "runs already")
	require.ErrorIs(t, b.node.StartPartition(Start{Shard: 20, Replica: 2, Replicas: c.replicas}, b.machine), ErrUnknown, "another broker's replica")
	require.ErrorIs(t, b.node.StartMeta(Start{Replicas: c.replicas[1:]}, nil), ErrUnknown)
}

// register is the smallest state machine: it holds the last command.
type register struct{ value string }

func (r *register) Update(e sm.Entry) (sm.Result, error) {
	r.value = string(e.Cmd)
	return sm.Result{Value: 1}, nil
}
func (r *register) Lookup(any) (any, error) { return r.value, nil }
func (r *register) SaveSnapshot(w io.Writer, _ sm.ISnapshotFileCollection, _ <-chan struct{}) error {
	_, err := io.WriteString(w, r.value)
	return err
}
func (r *register) RecoverFromSnapshot(src io.Reader, _ []sm.SnapshotFile, _ <-chan struct{}) error {
	b, err := io.ReadAll(src)
	r.value = string(b)
	return err
}
func (r *register) Close() error { return nil }

// TestMeta: the metadata shard is asked on any broker.
func TestMeta(t *testing.T) {
	c := newCluster(t)
	create := func(uint64, uint64) sm.IStateMachine { return &register{} }
	for id := protocol.BrokerID(1); id <= 3; id++ {
		b := c.open(id)
		require.NoError(t, b.node.StartMeta(Start{Replicas: c.replicas, OnLeader: b.note}, create))
	}
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	leads := func() bool { l, _ := c.brokers[1].node.Leader(MetaShard); return l.Self }
	require.Eventually(t, func() bool { c.brokers[1].node.Campaign(MetaShard); return leads() }, soon, campaignWindow)
	c.brokers[2].await(t, "leader of the metadata", func(l Leadership) bool { return l.Leader == 1 })
	r, err := c.brokers[2].node.ProposeWait(ctx, MetaShard, []byte("hello")) // forwarded
	require.NoError(t, err)
	require.Equal(t, Committed, r.Outcome)
	c.brokers[3].await(t, "leader of the metadata", func(l Leadership) bool { return l.Leader == 1 })
	v, err := c.brokers[3].node.Read(ctx, MetaShard, nil)
	require.NoError(t, err)
	require.Equal(t, "hello", v)
	require.NoError(t, c.brokers[1].node.Transfer(ctx, MetaShard, 3, Handover{}))
	c.brokers[3].await(t, "transfer", func(l Leadership) bool { return l.Self })
	v, err = c.brokers[2].node.StaleRead(MetaShard, nil)
	require.NoError(t, err)
	require.Equal(t, "hello", v)
	_, err = c.brokers[2].node.StaleRead(99, nil)
	require.ErrorIs(t, err, ErrStopped)
}

// TestHostnameChanges: a data directory outlives the name of its host.
func TestHostnameChanges(t *testing.T) {
	c := newCluster(t)
	b := c.start(1)
	require.Eventually(t, func() bool { return b.node.nh.HasNodeInfo(testShard, 1) }, soon, time.Millisecond)
	c.kill(1)
	dir := filepath.Join(c.dir, "raft1")
	name, err := os.Hostname()
	require.NoError(t, err)
	require.NoError(t, os.Rename(filepath.Join(dir, name), filepath.Join(dir, "formerly")))
	require.NoError(t, renameHost(filepath.Join(dir, flagFile), "formerly"))
	b = c.open(1)
	require.Equal(t, []Stored{{testShard, 1}}, b.node.Stored())
	c.kill(1)

	require.NoError(t, os.WriteFile(filepath.Join(dir, flagFile), []byte("short"), 0o644))
	_, err = Open(Config{ClusterID: 1, Self: 1, Dir: dir, Net: b.net})
	require.ErrorContains(t, err, "damaged")
}

func TestConfigIsChecked(t *testing.T) {
	good := func() Config { return Config{Self: 1, Dir: t.TempDir(), Net: fakeNet{}} }
	for name, spoil := range map[string]func(*Config){
		"broker":   func(c *Config) { c.Self = 0 },
		"dir":      func(c *Config) { c.Dir = "" },
		"net":      func(c *Config) { c.Net = nil },
		"tick":     func(c *Config) { c.Tick = time.Microsecond },
		"election": func(c *Config) { c.ElectionTicks, c.HeartbeatTicks = 10, 5 },
		"timeout":  func(c *Config) { c.ProposalTimeout = 150 * time.Millisecond },
	} {
		cfg := good()
		spoil(&cfg)
		_, err := Open(cfg)
		require.Error(t, err, name)
	}
}

type fakeNet struct{ Network }

func TestInboxCoalesces(t *testing.T) {
	b := newInbox()
	for term := uint64(1); term <= 3; term++ {
		b.LeaderUpdated(raftio.LeaderInfo{ShardID: 20, Term: term})
		b.LeaderUpdated(raftio.LeaderInfo{ShardID: 21, Term: term + 10})
	}
	<-b.ready
	require.Equal(t, []raftio.LeaderInfo{{ShardID: 20, Term: 3}, {ShardID: 21, Term: 13}}, b.take())
	require.Empty(t, b.take())
	b.LeaderUpdated(raftio.LeaderInfo{ShardID: 20, Term: 4})
	b.forget(20)
	require.Empty(t, b.take(), "nobody is told of a stopped shard")
	b.LeaderUpdated(raftio.LeaderInfo{ShardID: 20, Term: 5, LeaderID: 3})
	require.Len(t, b.take(), 1)
	b.renew(20, 2)
	require.Empty(t, b.take(), "another replica leads")
	b.renew(20, 3)
	require.Len(t, b.take(), 1)
}

func TestStalledWrites(t *testing.T) {
	s := newSaveTimes(2)
	require.Zero(t, s.oldest())
	begun := s.begin(1)
	time.Sleep(2 * time.Millisecond)
	second := s.begin(2)
	require.GreaterOrEqual(t, s.oldest(), 2*time.Millisecond)
	s.end(1, begun)
	require.Less(t, s.oldest(), time.Second)
	s.end(2, second)
	require.Zero(t, s.oldest())
	bytes, ok := synced([]pb.Update{{State: pb.State{Commit: 3}}, {EntriesToSave: []pb.Entry{{Cmd: make([]byte, 5)}}}})
	require.True(t, ok)
	require.Equal(t, 5, bytes)
}

func TestProposal(t *testing.T) {
	ch := make(chan Result, 1)
	p := NewProposal(ch)
	stop := make(chan struct{})
	close(stop)
	_, ok := p.Wait(stop, nil)
	require.False(t, ok)
	expired := make(chan time.Time, 1)
	expired <- time.Time{}
	_, ok = p.Wait(nil, expired)
	require.False(t, ok)
	ch <- Result{Outcome: Committed, Value: 7}
	r, ok := p.Wait(stop, nil) // a result that is there wins
	require.True(t, ok)
	require.EqualValues(t, 7, r.Value)

	p = NewProposal(ch)
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() { require.Equal(t, Dropped, p.Result().Outcome) })
	}
	ch <- Result{Outcome: Dropped}
	all.Wait()
	<-p.Done()
}
