//go:build faults

package broker

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/trunkline/trunkline/broker/internal/failpoint"
	"github.com/trunkline/trunkline/broker/internal/meta"
	"github.com/trunkline/trunkline/broker/internal/raftnode"
	"github.com/trunkline/trunkline/protocol"
)

// failpoints sets the plan, or asks what happened if there is none.
func failpoints(t *testing.T, method, plan string) []byte {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, "/", strings.NewReader(plan))
	r.RemoteAddr = "127.0.0.1:1"
	w := httptest.NewRecorder()
	failpoint.Handler().ServeHTTP(w, r)
	require.Less(t, w.Code, 300, w.Body.String())
	return w.Body.Bytes()
}

// stall has whoever does the next step of a kind wait there, which is long enough to end it.
func (p *party) stall(point, kind string) (stalled func() bool) {
	p.t.Helper()
	acted := func() int64 {
		var r struct {
			Points map[string]struct{ Acted int64 }
		}
		require.NoError(p.t, json.Unmarshal(failpoints(p.t, http.MethodGet, ""), &r))
		return r.Points[point].Acted
	}
	before := acted()
	failpoints(p.t, http.MethodPut, fmt.Sprintf("%s=delay:300ms,count=1,match=%s", point, kind))
	p.t.Cleanup(func() { failpoints(p.t, http.MethodPut, "") })
	return func() bool { return acted() > before }
}

// leads returns which broker leads a shard, 0 for none.
func (p *party) leads(shard uint64) protocol.BrokerID {
	for id, b := range p.brokers {
		if _, ok := b.controller.Leads(shard); ok {
			return id
		}
	}
	return 0
}

// idle says that nothing is moved but what a test, or safety, asks for.
func idle(cfg Config) Config {
	cfg.Moves.CalmAfter = time.Hour
	return cfg
}

// endLeader ends a broker in the middle of a step, lets the others go on, and starts it again.
func (p *party) endLeader(id protocol.BrokerID, goesOn func() bool) {
	p.t.Helper()
	cfg := p.brokers[id].cfg
	p.close(id)
	p.await("the others go on", goesOn)
	p.open(idle(cfg))
	p.await("settled", p.settled)
}

var points = []string{"beforeMoveStep", "afterMoveStep"}

// TestLeadersEndAtEveryStepOfAMove ends the broker that does a step, before and after it, for each step of moves that go on and of moves that
// are undone: the move ends, and Raft's members are those of the metadata.
func TestLeadersEndAtEveryStepOfAMove(t *testing.T) {
	defer goleak.VerifyNone(t)
	p := newPartyOf(t, 3, idle)
	p.open(idle(p.joiner(4)))
	p.topic("calls", 1, 3)
	p.topic("solo", 1, 1)
	p.await("settled", p.settled)
	for _, topic := range []string{"calls", "solo"} {
		for _, kind := range []string{"add", "promote", "yield", "remove", "finish", "bar", "undone"} {
			for _, point := range points {
				t.Logf("%s %s of %s", point, kind, topic)
				p.publish(1)
				p.moveLeader(topic, point, kind)
			}
		}
	}
	p.publish(1)
	p.await("settled", p.settled)
	p.closeAll()
}

// moveLeader begins to move the leading replica of a topic's only partition to a broker that has none, ends the leader at a step, and checks.
func (p *party) moveLeader(topic, point, kind string) {
	p.t.Helper()
	ctx := p.t.Context()
	im := p.any().meta.Image()
	placed, _ := im.TopicNamed(topic)
	tp := protocol.TopicPartition{Topic: placed.ID}
	at := &placed.Partitions[0]
	spec := meta.MoveSpec{TP: tp, Brokers: at.Brokers()}
	p.await("a leader", func() bool { spec.Remove = p.leads(at.Shard); return spec.Remove != 0 })
	for _, b := range im.Brokers() {
		if !slices.Contains(spec.Brokers, b.ID) {
			spec.Add = b.ID
		}
	}
	stalled := p.stall(point, kind)
	id, err := p.any().meta.BeginMove(ctx, spec)
	require.NoError(p.t, err)
	back := kind == "bar" || kind == "undone"
	if back {
		require.NoError(p.t, p.any().meta.UndoMove(ctx, id))
	}
	victim := protocol.BrokerID(0)
	p.await("the step", func() bool {
		if kind == "yield" {
			victim = spec.Remove
		} else if leader := p.leads(at.Shard); leader != 0 {
			victim = leader
		}
		return stalled()
	})
	waits := len(spec.Brokers) == 1 || victim == spec.Add // without it there is no majority, or nobody to take the place
	p.endLeader(victim, func() bool { return waits || len(p.any().meta.Image().Moves()) == 0 })
	now, _ := p.any().meta.Image().TopicNamed(topic)
	_, added := now.Partitions[0].On(spec.Add)
	require.Equal(p.t, !back, added)
}

// TestLeadersEndAtEveryStepOfADecommission does the same to the leader of the metadata while one of its voters is replaced and retired, by
// the planner.
func TestLeadersEndAtEveryStepOfADecommission(t *testing.T) {
	defer goleak.VerifyNone(t)
	p := newPartyOf(t, 3, idle)
	next := protocol.BrokerID(4)
	for _, c := range []struct{ point, kind string }{
		{"beforePlanStep", "begin"},
		{"afterPlanStep", "begin"},
		{"beforeMoveStep", "promote"},
		{"afterMoveStep", "promote"},
		{"beforeMoveStep", "yield"},
		{"afterMoveStep", "remove"},
		{"beforeMoveStep", "finish"},
		{"afterMoveStep", "finish"},
		{"beforePlanStep", "retire"},
		{"afterPlanStep", "retire"},
	} {
		t.Logf("%s %s", c.point, c.kind)
		p.open(idle(p.joiner(next)))
		next++
		p.await("settled", p.settled)
		p.replaceVoter(c.point, c.kind)
	}
	p.closeAll()
}

// replaceVoter decommissions a voter of the metadata, the leader where it has to hand over, and ends the leader at a step.
func (p *party) replaceVoter(point, kind string) {
	p.t.Helper()
	im := p.any().meta.Image()
	leader := p.leads(raftnode.MetaShard)
	leaver := leader
	if kind != "yield" {
		leaver = im.Meta.Brokers()[slices.IndexFunc(im.Meta.Brokers(), func(b protocol.BrokerID) bool { return b != leader })]
	}
	stalled := p.stall(point, kind)
	require.NoError(p.t, p.any().meta.SetBrokerState(p.t.Context(), leaver, 0, meta.Leaving))
	p.await("the step", func() bool {
		if now := p.leads(raftnode.MetaShard); now != 0 {
			leader = now
		}
		return stalled()
	})
	cfg := p.brokers[leader].cfg
	p.close(leader)
	if leader != leaver {
		p.await("retired", func() bool { return p.retiredBut(leaver) })
		p.close(leaver) // it stopped serving by itself
		p.open(idle(cfg))
	} else {
		p.open(idle(cfg))
		p.await("retired", func() bool { return p.retiredBut(leaver) })
		p.close(leaver)
	}
	p.await("settled", p.settled)
}

// retiredBut reports whether all but one know that this one was retired: it has no metadata any more.
func (p *party) retiredBut(id protocol.BrokerID) bool {
	for other, b := range p.brokers {
		if other != id && !b.meta.Image().Retired(id) {
			return false
		}
	}
	return true
}
