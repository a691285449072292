package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/trunkline/trunkline/broker/internal/meta"
	"github.com/trunkline/trunkline/broker/internal/partition"
	"github.com/trunkline/trunkline/broker/internal/raftnode"
	"github.com/trunkline/trunkline/broker/internal/storefs"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeMeta is a metadata shard of one machine that can be behind its log, as after a restart.
type fakeMeta struct {
	mu      sync.Mutex
	log     [][]byte // guarded by mu
	applied int      // by machine; guarded by mu
	current chan struct{}
	machine *meta.Machine
	service *meta.Service
}

func newFakeMeta(log [][]byte) *fakeMeta {
	f := &fakeMeta{log: log, machine: meta.NewMachine(), current: make(chan struct{})}
	f.service = meta.New(meta.Config{Self: 1, Node: f, Machine: f.machine})
	return f
}

// replay applies the log up to n entries.
func (f *fakeMeta) replay(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for ; f.applied < n; f.applied++ {
		if _, _, err := f.machine.Apply(f.log[f.applied]); err != nil {
			panic(err)
		}
	}
}

// catchUp applies everything and lets Barrier return.
func (f *fakeMeta) catchUp() {
	f.replay(len(f.log))
	close(f.current)
}

func (f *fakeMeta) Propose(_ context.Context, cmd []byte) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.applied != len(f.log) {
		return nil, fmt.Errorf("%w: behind", meta.ErrNotProposed)
	}
	f.log = append(f.log, cmd)
	f.applied++
	data, _, err := f.machine.Apply(cmd)
	return data, err
}

func (f *fakeMeta) Leader() protocol.BrokerID { return 1 }

func (f *fakeMeta) Barrier(ctx context.Context) error {
	select {
	case <-f.current:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *fakeMeta) register(n int) {
	for i := range n {
		id := protocol.BrokerID(i + 1)
		b := meta.Broker{ID: id, RaftAddr: fmt.Sprintf("h%d:7401", id)}
		b.DirID[0] = byte(id)
		if err := f.service.RegisterBroker(context.Background(), b); err != nil {
			panic(err)
		}
	}
}

func (f *fakeMeta) create(name string, partitions, replicas uint32) *meta.Topic {
	t, err := f.service.CreateTopic(context.Background(), wire.CreateTopic{
		Name: name, Partitions: partitions, Replicas: replicas,
	})
	if err != nil {
		panic(err)
	}
	return t
}

// move moves a replica of a partition and returns the move's ID.
func (f *fakeMeta) move(t *meta.Topic, partition int, add, remove protocol.BrokerID) uint64 {
	tp := protocol.TopicPartition{Topic: t.ID, Partition: protocol.Partition(partition)}
	p, _ := f.service.Image().Partition(tp)
	id, err := f.service.BeginMove(context.Background(), meta.MoveSpec{TP: tp, Add: add, Remove: remove, Brokers: p.Brokers()})
	if err != nil {
		panic(err)
	}
	return id
}

// end finishes a move, or takes it back.
func (f *fakeMeta) end(id uint64, undo bool) {
	ctx := context.Background()
	var err error
	if undo {
		err = errors.Join(f.service.UndoMove(ctx, id), f.service.UndoneMove(ctx, id))
	} else {
		err = f.service.FinishMove(ctx, id)
	}
	if err != nil {
		panic(err)
	}
}

func (f *fakeMeta) delete(name string) {
	if _, err := f.service.DeleteTopic(context.Background(), wire.DeleteTopic{Name: name}); err != nil {
		panic(err)
	}
}

// fakeHost has the Raft logs of one broker, which survive a restart, and runs replicas that do nothing.
type fakeHost struct {
	rig *rig
	fs  storefs.FS

	mu       sync.Mutex
	logs     map[uint64]uint64 // replica ID of each log that is stored; guarded by mu, as everything below
	torn     map[uint64]bool   // replicas, which have IDs of their own here, of whose log the removal began
	removed  map[uint64]bool
	runs     map[uint64]*fakeReplica
	fail     map[uint64]error // starts that fail
	hold     chan struct{}    // starts wait for it when not nil
	working  int              // starts that wait
	leaders  map[uint64]raftnode.Leadership
	asked    []uint64                     // campaigns
	matches  map[protocol.BrokerID]uint64 // of every shard
	length   uint64                       // of every log
	answered time.Time                    // when every follower last answered
	wrong    []string                     // what must never happen
	moves    func(shard uint64, to protocol.BrokerID) error
}

func newFakeHost(r *rig) *fakeHost {
	return &fakeHost{
		rig: r, fs: r.disk(), logs: map[uint64]uint64{}, torn: map[uint64]bool{}, removed: map[uint64]bool{},
		runs: map[uint64]*fakeReplica{},
		fail: map[uint64]error{}, leaders: map[uint64]raftnode.Leadership{},
	}
}

// reboot returns the host after a restart of the process.
func (h *fakeHost) reboot(r *rig) *fakeHost {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := newFakeHost(r)
	n.logs, n.torn, n.removed, n.wrong = h.logs, h.torn, h.removed, h.wrong
	return n
}

func (h *fakeHost) complain(format string, args ...any) {
	h.wrong = append(h.wrong, fmt.Sprintf(format, args...))
}

func (h *fakeHost) start(s *spec, dir string, onLeader func(raftnode.Leadership),
	onLeading func(protocol.Epoch)) (running, error) {
	h.mu.Lock()
	h.working++
	hold := h.hold
	h.mu.Unlock()
	if hold != nil {
		<-hold
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.working--
	if err := errors.Join(h.fail[s.shard], h.rig.blown()); err != nil {
		return nil, err
	}
	if h.runs[s.shard] != nil {
		h.complain("shard %d was started while it runs", s.shard)
	}
	if h.removed[replicaOf(s.shard, s.replica)] || h.torn[replicaOf(s.shard, s.replica)] {
		h.complain("shard %d replica %d was started after its removal began", s.shard, s.replica)
	}
	if old := h.logs[s.shard]; old != 0 && old != s.replica {
		h.complain("shard %d replica %d was started on the log of replica %d", s.shard, s.replica, old)
	}
	h.logs[s.shard] = s.replica
	f, err := h.fs.Create(filepath.Join(dir, "segment"))
	if err == nil {
		err = f.Close()
	}
	if err != nil { // what did not start does not run
		return nil, err
	}
	r := &fakeReplica{host: h, spec: s, onLeader: onLeader, onLeading: onLeading, config: s.config, quorum: true}
	h.runs[s.shard] = r
	return r, nil
}

// replicaOf is a number for a replica of a shard.
func replicaOf(shard, replica uint64) uint64 { return shard<<40 | replica }

func (h *fakeHost) stored() map[uint64]uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.logs)
}

func (h *fakeHost) removeData(_ context.Context, shard uint64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := errors.Join(h.fail[shard], h.rig.blown()); err != nil {
		return err
	}
	if h.runs[shard] != nil {
		h.complain("the data of shard %d was removed while it runs", shard)
	}
	replica := replicaOf(shard, h.logs[shard])
	h.torn[replica] = true // as plugin/tan: entries first, the bootstrap record last
	if err := h.rig.blown(); err != nil {
		return err
	}
	delete(h.logs, shard)
	h.removed[replica] = true
	return nil
}

func (h *fakeHost) leader(shard uint64) (raftnode.Leadership, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l, ok := h.leaders[shard]
	l.Shard = shard
	return l, ok
}

func (h *fakeHost) match(_ uint64, follower protocol.BrokerID) (uint64, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	index, ok := h.matches[follower]
	return index, ok
}

func (h *fakeHost) progress(_, replica uint64) (uint64, time.Time, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	index, ok := h.matches[protocol.BrokerID(replica)]
	return index, h.answered, ok
}

func (h *fakeHost) last(uint64) (uint64, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.length, true
}

func (h *fakeHost) sync(_ context.Context, shard uint64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.fail[shard]
}

func (h *fakeHost) campaign(shard uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked = append(h.asked, shard)
}

func (h *fakeHost) petition(shard uint64, _ []protocol.BrokerID) { h.campaign(shard) }

func (h *fakeHost) transfer(_ context.Context, shard uint64, to protocol.BrokerID) error {
	return h.moves(shard, to)
}

// lead makes a broker the leader of a shard in the eyes of this host.
func (h *fakeHost) lead(shard, term uint64, leader protocol.BrokerID) {
	h.mu.Lock()
	l := raftnode.Leadership{Shard: shard, Term: term, Leader: leader, Self: leader == 1}
	h.leaders[shard] = l
	r := h.runs[shard]
	h.mu.Unlock()
	if r == nil {
		return
	}
	r.mu.Lock()
	r.epoch, r.leader, r.leads = protocol.Epoch(term), leader, l.Self
	r.mu.Unlock()
	r.onLeader(l)
	if l.Self {
		r.onLeading(protocol.Epoch(term))
	}
}

func (h *fakeHost) replica(shard uint64) *fakeReplica {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.runs[shard]
}

type fakeReplica struct {
	host      *fakeHost
	spec      *spec
	onLeader  func(raftnode.Leadership)
	onLeading func(protocol.Epoch)

	mu      sync.Mutex
	config  wire.TopicConfig // guarded by mu, as everything below
	placed  *spec            // newest that it was told
	quorum  bool
	diskLow bool
	epoch   protocol.Epoch
	leader  protocol.BrokerID
	leads   bool
	refuses []protocol.BrokerID // transfers to them fail
	tried   []protocol.BrokerID
	silent  time.Duration // of the last try
}

func (r *fakeReplica) partition() *partition.Partition { return nil }

func (r *fakeReplica) serving() (protocol.Epoch, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.epoch, r.leads
}

func (r *fakeReplica) newest() (protocol.Epoch, protocol.BrokerID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.epoch, r.leader
}

func (r *fakeReplica) applied() uint64 { return 100 }

func (r *fakeReplica) configure(c wire.TopicConfig) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.config = c
}

func (r *fakeReplica) place(s *spec) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.placed = s
}

func (r *fakeReplica) setQuorum(v bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.quorum = v
}

func (r *fakeReplica) setDiskReserve(v bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.diskLow = v
}

// refuse says which brokers take no leadership over; attempts returns who was asked, patience how long publishers might wait last.
func (r *fakeReplica) refuse(to ...protocol.BrokerID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refuses = to
}

func (r *fakeReplica) attempts() []protocol.BrokerID {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.tried)
}

func (r *fakeReplica) patience() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.silent
}

func (r *fakeReplica) transfer(_ context.Context, to protocol.BrokerID, silent time.Duration) error {
	r.mu.Lock()
	r.tried, r.silent = append(r.tried, to), silent
	term, refused := uint64(r.epoch), slices.Contains(r.refuses, to)
	r.mu.Unlock()
	if refused {
		return errors.New("no")
	}
	r.host.lead(r.spec.shard, term+1, to)
	return nil
}

func (r *fakeReplica) closeState() error { return nil }

func (r *fakeReplica) stop() error {
	r.host.mu.Lock()
	defer r.host.mu.Unlock()
	if r.host.runs[r.spec.shard] != r {
		r.host.complain("shard %d was stopped twice", r.spec.shard)
	}
	delete(r.host.runs, r.spec.shard)
	return nil
}
