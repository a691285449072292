package partition

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	sm "github.com/lni/dragonboat/v4/statemachine"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/trunkline/trunkline/broker/internal/fsm"
	"github.com/trunkline/trunkline/broker/internal/raftnode"
	"github.com/trunkline/trunkline/broker/internal/seglog"
	"github.com/trunkline/trunkline/broker/internal/storefs"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testShard = 16
	self      = protocol.BrokerID(1)
	other     = protocol.BrokerID(2)
	roundTrip = time.Millisecond // of the fake Raft, in fake time
)

var testTP = protocol.TopicPartition{Topic: 7, Partition: 3}

// fault says what becomes of one proposal.
type fault int

const (
	commit     fault = iota // applied and answered
	refuse                  // not accepted
	drop                    // answered as dropped, in no log
	lose                    // answered as unknown, in no log
	vanish                  // never answered, in no log
	mute                    // applied, answered as unknown
	silent                  // applied, never answered
	late                    // answered as unknown, applied after a while, before what follows it
	depose                  // it and what follows it is cut off the log by another leader, who then leaves
	deposeMany              // the same, and the news of the other leader never comes
	forward                 // the same, but the other leader commits it before it begins its epoch
	forwardLow              // the same, but after
	faultKinds
)

// fakeRaft is a Node with a log of its own: what commits is applied to a real state machine, in order, a round trip
// after it was proposed. It leads from elect on.
type fakeRaft struct {
	t  testing.TB
	m  *fsm.Machine
	ch chan struct{} // has a token after log grew

	applying sync.Mutex
	index    uint64 // guarded by applying

	mu        sync.Mutex
	part      *Partition
	term      uint64
	leads     bool
	faults    []fault // of the proposals to come; commit after the last
	log       []item  // not applied
	proposed  int
	gate      chan struct{} // not nil: nothing is applied until it is closed
	transfers []protocol.BrokerID
	compacted []uint64
	busy      int  // proposals outstanding when Transfer was called
	stuck     bool // Transfer fails
}

type item struct {
	cmd    []byte
	fault  fault
	result chan raftnode.Result
}

// rig is a partition on a fake Raft.
type rig struct {
	*Partition
	raft   *fakeRaft
	m      *fsm.Machine
	fs     storefs.FS // of m
	cancel context.CancelFunc
	done   chan struct{}

	mu     sync.Mutex
	epochs []protocol.Epoch // OnLeading, and 0 for OnFollowing
}

func newMachine(t testing.TB) (*fsm.Machine, storefs.FS) {
	fs := storefs.NewMem()
	m := fsm.New(fsm.Config{FS: fs, Dir: "p", Partition: testTP, Seglog: seglog.Options{SegmentBytes: 4 << 10}})
	_, err := m.Open(nil)
	require.NoError(t, err)
	return m, fs
}

func newRig(t testing.TB, faults []fault, change func(*Config)) *rig {
	m, fs := newMachine(t)
	raft := &fakeRaft{t: t, m: m, faults: faults, ch: make(chan struct{}, 1)}
	r := &rig{raft: raft, m: m, fs: fs, done: make(chan struct{})}
	cfg := Config{
		TP: testTP, Topic: "calls", Shard: testShard, Self: self, Node: raft, FSM: m,
		RetentionEvery: time.Hour, UpkeepEvery: time.Hour,
		OnLeading:   func(e protocol.Epoch) { r.note(e) },
		OnFollowing: func() { r.note(0) },
	}
	if change != nil {
		change(&cfg)
	}
	p, err := New(cfg)
	require.NoError(t, err)
	raft.part, r.Partition = p, p
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	go func() { defer close(r.done); raft.run(ctx) }()
	return r
}

func (r *rig) note(e protocol.Epoch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.epochs = append(r.epochs, e)
}

func (r *rig) noted() []protocol.Epoch {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]protocol.Epoch(nil), r.epochs...)
}

// stop closes everything.
func (r *rig) stop() {
	r.Partition.Close()
	r.cancel()
	<-r.done
	require.NoError(r.raft.t, r.m.Close())
}

// elect makes the partition's broker the leader of the next term.
func (f *fakeRaft) elect() {
	f.mu.Lock()
	f.term++
	f.leads = true
	l := raftnode.Leadership{Shard: testShard, Term: f.term, Leader: self, Self: true}
	f.mu.Unlock()
	f.part.Leadership(l)
}

// lead makes another broker the leader of the next term, or nobody.
func (f *fakeRaft) lead(b protocol.BrokerID) {
	f.mu.Lock()
	f.term++
	f.leads = false
	l := raftnode.Leadership{Shard: testShard, Term: f.term, Leader: b}
	f.mu.Unlock()
	f.part.Leadership(l)
}

// block lets nothing be applied until the returned function is called.
func (f *fakeRaft) block() (release func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	gate := make(chan struct{})
	f.gate = gate
	return func() {
		f.mu.Lock()
		f.gate = nil
		f.mu.Unlock()
		close(gate)
	}
}

func (f *fakeRaft) script(faults ...fault) {
	f.mu.Lock()
	f.faults = faults
	f.mu.Unlock()
}

// seen returns what Compact and Transfer were asked for.
func (f *fakeRaft) seen() (compacted []uint64, transfers []protocol.BrokerID, busy int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]uint64(nil), f.compacted...), append([]protocol.BrokerID(nil), f.transfers...), f.busy
}

func (f *fakeRaft) stick(stuck bool) {
	f.mu.Lock()
	f.stuck = stuck
	f.mu.Unlock()
}

func (f *fakeRaft) proposals() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.proposed
}

func (f *fakeRaft) Propose(shard uint64, cmd []byte) (*raftnode.Proposal, error) {
	require.EqualValues(f.t, testShard, shard)
	f.mu.Lock()
	defer f.mu.Unlock()
	what := commit
	if len(f.faults) > 0 {
		what, f.faults = f.faults[0], f.faults[1:]
	}
	if what == refuse {
		return nil, raftnode.ErrBusy
	}
	f.proposed++
	if !f.leads && what == commit { // a follower that knows no leader
		what = drop
	}
	result := make(chan raftnode.Result, 1)
	f.log = append(f.log, item{cmd: append([]byte(nil), cmd...), fault: what, result: result})
	select {
	case f.ch <- struct{}{}:
	default:
	}
	return raftnode.NewProposal(result), nil
}

func (f *fakeRaft) Transfer(ctx context.Context, shard uint64, to protocol.BrokerID, h raftnode.Handover) error {
	if _, err := h.Barrier(ctx); err != nil {
		return err
	}
	if err := h.Silence(ctx); err != nil {
		return err
	}
	f.mu.Lock()
	f.busy = len(f.log)
	f.transfers = append(f.transfers, to)
	stuck := f.stuck
	f.mu.Unlock()
	index, err := h.Barrier(ctx)
	if err != nil {
		return err
	}
	if index != f.m.Applied() {
		return fmt.Errorf("barrier at %d of %d", index, f.m.Applied())
	}
	if stuck {
		return errors.New("it did not stand for election")
	}
	return nil
}

func (f *fakeRaft) Compact(ctx context.Context, shard, keepFrom uint64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.compacted = append(f.compacted, keepFrom)
	return nil
}

func (f *fakeRaft) run(ctx context.Context) {
	for {
		f.mu.Lock()
		waiting, gate := len(f.log) > 0, f.gate
		f.mu.Unlock()
		switch {
		case gate != nil:
			select {
			case <-gate:
			case <-ctx.Done():
				return
			}
		case waiting:
			time.Sleep(roundTrip)
			f.step()
		default:
			select {
			case <-f.ch:
			case <-ctx.Done():
				return
			}
		}
	}
}

// step decides about everything in the log up to the first thing that takes time.
func (f *fakeRaft) step() {
	for {
		f.mu.Lock()
		if len(f.log) == 0 || f.gate != nil {
			f.mu.Unlock()
			return
		}
		i := f.log[0]
		if i.fault >= depose {
			cut := f.log
			f.log = nil
			f.mu.Unlock()
			f.usurp(i.fault, cut)
			return
		}
		f.log = f.log[1:]
		f.mu.Unlock()
		switch i.fault {
		case commit:
			i.result <- f.apply(i.cmd)
		case mute:
			f.apply(i.cmd)
			i.result <- raftnode.Result{}
		case silent:
			f.apply(i.cmd)
		case drop:
			i.result <- raftnode.Result{Outcome: raftnode.Dropped}
		case lose:
			i.result <- raftnode.Result{}
		case late:
			i.result <- raftnode.Result{}
			time.Sleep(5 * roundTrip) // what comes meanwhile is behind it in the log
			f.apply(i.cmd)
		}
	}
}

// usurp is the reign of another broker. The cut proposals are never answered.
func (f *fakeRaft) usurp(how fault, cut []item) {
	if how == deposeMany {
		f.mu.Lock()
		f.term++
		f.leads = false
		f.mu.Unlock()
	} else {
		f.lead(other)
	}
	if how == forward {
		f.apply(cut[0].cmd)
	}
	f.mu.Lock()
	term := f.term
	f.mu.Unlock()
	f.apply(fsm.EpochBegin(term, other, 1, time.Now().UnixMilli()))
	if how == forwardLow {
		f.apply(cut[0].cmd)
	}
	time.Sleep(roundTrip)
	f.elect()
}

func (f *fakeRaft) apply(cmd []byte) raftnode.Result {
	f.applying.Lock()
	defer f.applying.Unlock()
	f.index++
	out, err := f.m.Update([]sm.Entry{{Index: f.index, Cmd: cmd}})
	require.NoError(f.t, err)
	return raftnode.Result{Outcome: raftnode.Committed, Value: out[0].Result.Value, Data: out[0].Result.Data}
}

// makeBatch returns a batch of count records of a producer from a sequence on, whose values tell both.
func makeBatch(t testing.TB, id protocol.ProducerID, seq protocol.Sequence, count, valueBytes int) (
	[]byte, batch.Header) {
	return makeBatchAt(t, id, seq, count, valueBytes, 1)
}

// makeBatchAt is makeBatch with a timestamp.
func makeBatchAt(t testing.TB, id protocol.ProducerID, seq protocol.Sequence, count, valueBytes int, timestamp int64) (
	[]byte, batch.Header) {
	b := batch.NewBuilder(batch.None)
	for range count {
		require.NoError(t, b.Add(batch.Record{Value: make([]byte, valueBytes), Timestamp: timestamp}))
	}
	raw, err := b.Build(nil, id, 0, seq)
	require.NoError(t, err)
	h, err := batch.Check(raw, protocol.MaxBatchBytesLimit)
	require.NoError(t, err)
	return raw, h
}

// span is one batch as it is in the log.
type span struct {
	seq       protocol.Sequence
	count     uint32
	offset    protocol.Offset
	timestamp int64
}

// readLog returns all batches of the log by producer, in order, and checks that offsets are dense.
func readLog(t testing.TB, m *fsm.Machine) map[protocol.ProducerID][]span {
	out := map[protocol.ProducerID][]span{}
	at, next := m.Bounds()
	for at < next {
		raw, err := m.Read(at, 1<<20, nil)
		require.NoError(t, err)
		require.NotEmpty(t, raw)
		for len(raw) > 0 {
			var one []byte
			one, raw, err = batch.Split(raw)
			require.NoError(t, err)
			h, err := batch.Check(one, protocol.MaxBatchBytesLimit)
			require.NoError(t, err)
			require.Equal(t, at, h.BaseOffset)
			out[h.Producer] = append(out[h.Producer], span{h.BaseSequence, h.Count, h.BaseOffset, h.FirstTimestamp})
			at += protocol.Offset(h.Count)
		}
	}
	return out
}
