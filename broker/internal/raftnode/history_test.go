package raftnode

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/trunkline/trunkline/broker/internal/fsm"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
)

// historyTime is for how long new histories are begun.
const historyTime = 8 * time.Second

// TestHistoriesOfMembers: whatever the order of changes, restarts and changes of the leader, while records are published, nothing
// acknowledged is lost and all replicas are equal in the end.
func TestHistoriesOfMembers(t *testing.T) {
	until := time.Now().Add(historyTime)
	rapid.Check(t, func(r *rapid.T) {
		if time.Now().After(until) {
			return
		}
		defer func() {
			if r.Failed() {
				until = time.Now().Add(time.Hour) // it is to be repeated
			}
		}()
		h := newHistory(r, t.TempDir(), rapid.Uint64Range(1, 3).Draw(r, "founders"))
		w := newWriter(h.nodes()...)
		r.Cleanup(func() { w.end() }) // a history that fails ends it, too
		for range rapid.IntRange(4, 10).Draw(r, "steps") {
			h.step(r, w)
		}
		h.check(w.end())
	})
}

// history is a life of a shard on four brokers.
type history struct {
	*cluster
	next    uint64                                // replica IDs
	members map[protocol.BrokerID]*historyReplica // that were added and not removed
}

type historyReplica struct {
	id    uint64
	voter bool
}

func newHistory(t testT, dir string, founders uint64) *history {
	h := &history{
		cluster: newClusterOf(t, dir, 4, protocol.BrokerID(founders)), next: 1 << 32,
		members: map[protocol.BrokerID]*historyReplica{},
	}
	for id := protocol.BrokerID(1); id <= 4; id++ {
		b := h.open(id)
		if uint64(id) <= founders {
			h.run(b, uint64(id))
			h.members[id] = &historyReplica{id: uint64(id), voter: true}
		}
	}
	return h
}

func (h *history) nodes() (all []*testBroker) {
	for _, b := range h.brokers {
		all = append(all, b)
	}
	return all
}

// of returns the brokers whose replica pleases, in order.
func (h *history) of(pleases func(*historyReplica) bool) (ids []protocol.BrokerID) {
	for id := protocol.BrokerID(1); id <= 4; id++ {
		if pleases(h.members[id]) {
			ids = append(ids, id)
		}
	}
	return ids
}

func (h *history) step(t *rapid.T, w *writer) {
	none := h.of(func(r *historyReplica) bool { return r == nil })
	learners := h.of(func(r *historyReplica) bool { return r != nil && !r.voter })
	voters := h.of(func(r *historyReplica) bool { return r != nil && r.voter })
	members := slices.Concat(learners, voters)
	steps := []string{"restart", "campaign", "compact"}
	for what, possible := range map[string]bool{
		"add": len(none) > 0, "promote": len(learners) > 0, "remove": len(voters) > 1, "undo": len(learners) > 0,
	} {
		if possible {
			steps = append(steps, what, what)
		}
	}
	slices.Sort(steps)
	switch what := rapid.SampledFrom(steps).Draw(t, "step"); what {
	case "add":
		b := h.brokers[rapid.SampledFrom(none).Draw(t, "broker")]
		r := &historyReplica{id: h.next}
		h.next++
		h.members[b.id] = r
		h.addLearner(Replica{Broker: b.id, ReplicaID: r.id})
		h.run(b, r.id)
	case "promote":
		id := rapid.SampledFrom(learners).Draw(t, "broker")
		h.promote(Replica{Broker: id, ReplicaID: h.members[id].id})
		h.members[id].voter = true
	case "remove":
		h.remove(rapid.SampledFrom(voters).Draw(t, "broker"))
	case "undo":
		h.remove(rapid.SampledFrom(learners).Draw(t, "broker"))
	case "restart":
		id := rapid.SampledFrom(members).Draw(t, "broker")
		h.kill(id)
		w.replace(h.run(h.open(id), h.members[id].id))
	case "campaign":
		h.brokers[rapid.SampledFrom(members).Draw(t, "broker")].node.Campaign(testShard)
	case "compact":
		h.compact(h.brokers[rapid.SampledFrom(members).Draw(t, "broker")])
	}
}

func (h *history) remove(id protocol.BrokerID) {
	replica := h.members[id].id
	h.removeReplica(replica)
	delete(h.members, id)
	h.erase(h.brokers[id], replica)
}

// check compares the replicas with each other and with what was acknowledged.
func (h *history) check(acknowledged []string) {
	leader := h.leader()
	h.t.Logf("%d batches were acknowledged; members %v", len(acknowledged), h.membership(leader))
	for id := range h.members {
		h.same(leader, h.brokers[id])
	}
	var log []byte
	first, next := leader.machine.Bounds()
	for at := first; at < next; {
		raw, err := leader.machine.Read(at, 1<<20, nil)
		require.NoError(h.t, err)
		require.NotEmpty(h.t, raw)
		log = append(log, raw...)
		for len(raw) > 0 {
			header, err := batch.ParseHeader(raw)
			require.NoError(h.t, err)
			at, raw = header.Next(), raw[header.Length:]
		}
	}
	for _, value := range acknowledged {
		require.True(h.t, bytes.Contains(log, []byte(value)), "%s is lost", value)
	}
}

// writer publishes through whoever leads, until its end.
type writer struct {
	stop chan struct{}
	done chan struct{}
	once sync.Once

	mu           sync.Mutex
	brokers      map[protocol.BrokerID]*testBroker // guarded by mu
	acknowledged []string
}

func newWriter(brokers ...*testBroker) *writer {
	w := &writer{stop: make(chan struct{}), done: make(chan struct{}), brokers: map[protocol.BrokerID]*testBroker{}}
	for _, b := range brokers {
		w.replace(b)
	}
	go w.run()
	return w
}

func (w *writer) replace(b *testBroker) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.brokers[b.id] = b
}

// end returns what was acknowledged.
func (w *writer) end() []string {
	w.once.Do(func() { close(w.stop) })
	<-w.done
	return w.acknowledged
}

func (w *writer) leader() (*testBroker, uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, b := range w.brokers {
		if l, _ := b.node.Leader(testShard); l.Self {
			return b, l.Term
		}
	}
	return nil, 0
}

func (w *writer) run() {
	defer close(w.done)
	for i := uint64(1); ; i++ {
		select {
		case <-w.stop:
			return
		case <-time.After(5 * time.Millisecond):
		}
		b, term := w.leader()
		if b == nil {
			continue
		}
		if value := fmt.Sprintf("value-%06d", i); publishOnce(b, term, i, value) {
			w.acknowledged = append(w.acknowledged, value)
		}
	}
}

// publishOnce reports whether the value is acknowledged; otherwise it may be in the log nevertheless.
func publishOnce(b *testBroker, term, i uint64, value string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	r, err := b.node.ProposeWait(ctx, testShard, fsm.EpochBegin(term, b.id, i, 1))
	if err != nil || r.Outcome != Committed || r.Value != fsm.ValueOK {
		return false
	}
	builder := batch.NewBuilder(batch.None)
	if builder.Add(batch.Record{Value: []byte(value)}) != nil {
		return false
	}
	raw, err := builder.Build(nil, protocol.ProducerID(1000+i), 0, 0)
	if err != nil {
		return false
	}
	cmd := fsm.NewOps(fsm.ParseEpoch(r.Data), 1)
	cmd.Append(raw)
	r, err = b.node.ProposeWait(ctx, testShard, cmd.Bytes())
	return err == nil && r.Outcome == Committed && r.Value == fsm.ValueOK && fsm.ParseResult(r.Data, 0).Code == 0
}
